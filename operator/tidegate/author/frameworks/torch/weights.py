"""Putting a file of weights into a module, key by key: what does not fit is named, never left as it was.

Whether keys and shapes fit is decided without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.author.extras import need
from tidegate.author.frameworks.torch.sentences import of_weights
from tidegate.errors import Invalid

Shapes = Mapping[str, Sequence[int]]

INSIDE = ("state_dict", "model_state_dict", "model")  # where training loops keep the weights in a checkpoint
UNIMPORTANT = "num_batches_tracked"  # counts batches of the training; changes no answer
NAMED = 4


@dataclass(frozen=True, slots=True)
class Fit:
    """The key of the file for each key of the module, and what was mended, as a sentence."""

    keys: Mapping[str, str]
    cure: str = ""


def fit(wanted: Shapes, given: Shapes, twins: Mapping[str, Sequence[str]], where: str) -> Fit:
    """Which of the file's tensors goes where; raises Invalid that names what is missing, left over, or misshapen.

    `twins` are the keys of the module that share a key's tensor: a file needs only one of them.
    """
    prefix = _extra_prefix(wanted, given)
    keys = {key.removeprefix(prefix): key for key in given}
    missing = [
        key
        for key in wanted
        if not key.endswith(UNIMPORTANT) and not any(twin in keys for twin in (key, *twins.get(key, ())))
    ]
    _refuse(where, "there is nothing for", missing, "is the function building the model that was trained?")
    _refuse(where, "the model has no", [key for key in keys if key not in wanted], "the file belongs to another model")
    for key, source in keys.items():
        if tuple(given[source]) != tuple(wanted[key]):
            raise Invalid(
                f"'{source}' has the shape {tuple(given[source])}, the model's is {tuple(wanted[key])}",
                where=where,
                do="build the model with the sizes it was trained with",
            )
    cure = f"the keys of {where} begin with '{prefix}', which was left out" if prefix else ""
    return Fit(keys, cure)


def _extra_prefix(wanted: Shapes, given: Shapes) -> str:
    """What wrappers (DataParallel, torch.compile, Lightning) put before every key."""
    prefix = ""
    while rest := {key.removeprefix(prefix) for key in given} - wanted.keys():
        first = {key.partition(".")[0] for key in rest}
        if len(rest) != len(given):
            return prefix
        if len(first) != 1 or not all("." in key for key in rest):
            return ""
        prefix += f"{first.pop()}."
    return prefix


def _refuse(where: str, what: str, keys: Sequence[str], do: str) -> None:
    if keys:
        more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
        raise Invalid(f"{what} {', '.join(f'{key!r}' for key in keys[:NAMED])}{more}", where=where, do=do)


def load(module: Any, path: Path) -> tuple[str, ...]:
    """Put the weights of `path` into `module`; gives what was mended."""
    tensors = read(path)
    own = module.state_dict()
    found = fit(_shapes(own), _shapes(tensors), _twins(own), str(path))
    module.load_state_dict({key: tensors[source] for key, source in found.keys.items()}, strict=False)
    return (found.cure,) if found.cure else ()


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _twins(state: Mapping[str, Any]) -> dict[str, list[str]]:
    """Keys whose tensor is the very same as another key's: tied weights."""
    at: dict[int, list[str]] = {}
    for key, tensor in state.items():
        at.setdefault(tensor.data_ptr() if tensor.numel() else id(tensor), []).append(key)
    return {key: keys for keys in at.values() for key in keys}


def read(path: Path) -> dict[str, Any]:
    """The tensors in a safetensors file or a state_dict that torch.save wrote, by key; never runs a pickle's code."""
    if not path.is_file():
        raise Invalid("no such file", where=str(path), do="--weights takes a state_dict (.pt) or a safetensors file")
    with path.open("rb") as file:
        head = file.read(9)
    try:
        found = _safetensors(path) if head[6:9] == b"\0\0{" else _state_dict(path)
    except Invalid:
        raise
    except Exception as error:  # noqa: BLE001 - unpickling and zip errors have no common base
        raise Invalid(
            of_weights(str(error)),
            where=str(path),
            do="save the weights alone: torch.save(model.state_dict(), FILE)",
        ) from None
    return found


def _safetensors(path: Path) -> dict[str, Any]:
    load_file = need("safetensors.torch", extra="torch").load_file
    return dict(load_file(path))


def _state_dict(path: Path) -> dict[str, Any]:
    torch = need("torch", extra="torch")
    found = torch.load(path, map_location="cpu", weights_only=True)
    for key in INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    tensors = {str(key): value for key, value in dict(found).items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise Invalid("there are no weights in it", where=str(path), do="torch.save(model.state_dict(), FILE)")
    return tensors
