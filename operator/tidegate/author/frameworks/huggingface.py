"""A model folder of Hugging Face: config.json says which class it is, model.safetensors holds its weights.

Nothing is fetched and no code of the folder runs: what its class needs is in transformers itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.author.extras import need
from tidegate.author.frameworks import Converted, Found
from tidegate.author.frameworks.torch import module, onnx_export
from tidegate.author.frameworks.torch.example import ENOUGH, Arrays, Parameters
from tidegate.author.frameworks.torch.original import quiet
from tidegate.author.frameworks.torch.sentences import first_line
from tidegate.author.request import PackRequest
from tidegate.errors import Invalid

PACKAGES = (*onnx_export.PACKAGES, "safetensors", "transformers")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
TOKENS, DECODED, SAMPLES = 12, 9, 4000  # in an example
PIXELS, MOST_PIXELS = 224, 4096  # along a side: where no file says how many; in an example
TEXT = ("input_ids", "attention_mask")
SEGMENTS = "token_type_ids"
NAMED = 4


def convert(found: Found, request: PackRequest) -> Converted:
    """The folder's model as ONNX, with the inputs that its class is usually called with."""
    need("transformers", extra="huggingface")
    onnx_export.require()
    assert found.path is not None
    config = read_config(found.path)
    model, notes = _model(found.path, config)
    given = request.data.columns if request.data else _example(model, found.path, request)
    names = tuple(name for name in _arguments(model) if name in given)
    subject = module.Subject(
        _answering(model, names),
        {name: given[name] for name in names},
        request,
        str(found.path),
        PACKAGES,
        Parameters(names, open_ended=True),
    )
    return module.converted(subject, notes)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a folder that can be packed; raises Invalid that says what it lacks.  Needs no transformers."""
    config = json.loads((folder / "config.json").read_bytes())
    if not config.get("architectures"):
        raise Invalid(
            "it does not say which class the model is ('architectures')",
            where=str(folder / "config.json"),
            do="save the whole model: model.save_pretrained(FOLDER)",
        )
    if config.get("auto_map"):
        raise Invalid(
            "the model needs Python code that comes with it, which is not run",
            where=str(folder / "config.json"),
            do="build it in a function of yours and pack that: module:function",
        )
    if not any((folder / name).is_file() for name in WEIGHTS):
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        raise Invalid(
            f"its weights are a pickle ({pickled[0]})" if pickled else f"there is no {WEIGHTS[0]} in it",
            where=str(folder),
            do="save it again as safetensors: model.save_pretrained(FOLDER)",
        )
    return dict(config)


def _model(folder: Path, config: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    """The model with every weight from the file: what is missing would otherwise be drawn at random, silently."""
    import transformers

    name = config["architectures"][0]
    kind = getattr(transformers, name, None)
    if kind is None:
        raise _mismatch(folder, config, f"there is no class {name}")
    try:
        with quiet():
            model, report = kind.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                attn_implementation="eager",  # torch's fused attention has no ONNX form with some masks
            )
    except Exception as error:
        raise _mismatch(folder, config, first_line(str(error))) from error
    if missing := sorted(report["missing_keys"]):
        raise Invalid(
            f"there are no weights for {_listed(missing)}: transformers would draw them at random",
            where=str(folder),
            do=f"save the model as the class it was trained as, or correct 'architectures' ({name})",
        )
    unused = sorted(report["unexpected_keys"])
    return model.eval(), (f"{name} does not use the weights {_listed(unused)}",) if unused else ()


def _mismatch(folder: Path, config: Mapping[str, Any], reason: str) -> Invalid:
    import transformers

    saved = config.get("transformers_version", "")
    by = f" (it was saved by {saved})" if saved else ""
    return Invalid(
        f"transformers {transformers.__version__} cannot load it{by}: {reason}",
        where=str(folder),
        do="install the version of transformers that saved it, or save it again with this one",
        reason="VersionMismatch" if saved and saved != transformers.__version__ else "Invalid",
    )


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more


def _arguments(model: Any) -> tuple[str, ...]:
    import inspect

    return tuple(inspect.signature(model.forward).parameters)


def _example(model: Any, folder: Path, request: PackRequest) -> Arrays:
    """Made-up inputs of the model's kind; raises Invalid for a kind that nothing is known of."""
    random = np.random.default_rng(0)
    name = model.main_input_name
    if name == "input_ids":
        return _tokens(model, random)
    sizes = {"pixel_values": _picture(model.config, folder), "input_values": (SAMPLES,)}.get(name)
    if sizes is None:
        raise Invalid(f"no example can be made up of '{name}'", where=str(folder), do="give some: --data FILE.npz")
    shape = _asked_for((ENOUGH, *sizes), request.interface.get(name, ()), request.golden.dims)
    return {name: random.standard_normal(shape, dtype=np.float32)}


def _asked_for(shape: tuple[int, ...], wanted: Sequence[int | str], dims: Mapping[str, int]) -> tuple[int, ...]:
    """The usual sizes, but for those that --interface or --dim give."""
    if len(wanted) != len(shape):
        return shape
    given = (dims.get(size) if isinstance(size, str) else size for size in wanted[1:])
    return (shape[0], *(new or usual for new, usual in zip(given, shape[1:], strict=True)))


def _tokens(model: Any, random: np.random.Generator) -> Arrays:
    """Token ids, padded at the end to different lengths."""
    vocabulary = model.config.get_text_config().vocab_size
    shape = (ENOUGH, TOKENS)
    lengths = random.integers(TOKENS // 2, TOKENS + 1, ENOUGH)
    found = {
        TEXT[0]: random.integers(0, vocabulary, shape),
        TEXT[1]: (np.arange(TOKENS) < lengths[:, None]).astype(np.int64),
    }
    if SEGMENTS in _arguments(model) and getattr(model.config, "type_vocab_size", 0) > 1:
        found[SEGMENTS] = random.integers(0, model.config.type_vocab_size, shape)
    if model.config.is_encoder_decoder:
        found["decoder_input_ids"] = random.integers(0, vocabulary, (ENOUGH, DECODED))  # another length: it is one
    return found


def _picture(config: Any, folder: Path) -> tuple[int, int, int]:
    """Channels, height, width: of the model, else of what prepares its pictures."""
    size = getattr(config, "image_size", None) or _prepared_size(folder) or PIXELS
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return getattr(config, "num_channels", 3), height, width


def _prepared_size(folder: Path) -> tuple[int, int] | int | None:
    """The size in preprocessor_config.json: {"height", "width"}, {"shortest_edge"}, or a number."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_bytes())
        size = found.get("crop_size") or found.get("size")
        if not isinstance(size, dict):
            return _side(size) if size else None
        if "height" in size:
            return _side(size["height"]), _side(size["width"])
        return _side(size["shortest_edge"]) if size.get("shortest_edge") else None
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError):
        raise Invalid(
            "it does not say in a known way how large pictures are",
            where=str(path),
            do=f"save it again, processor.save_pretrained(FOLDER), or remove it: {PIXELS} pixels are taken then",
        ) from None


def _side(pixels: Any) -> int:
    if not 0 < (side := int(pixels)) <= MOST_PIXELS:
        raise ValueError
    return side


def _answering(model: Any, names: tuple[str, ...]) -> Any:
    """The model as a module of tensors only: without the caches that a next call would take, and without losses."""
    import inspect

    import torch

    options: dict[str, Any] = {"return_dict": True}
    if "use_cache" in inspect.signature(model.forward).parameters:
        options["use_cache"] = False

    class Answering(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> dict[str, Any]:
            found = self.model(**dict(zip(names, tensors, strict=True)), **options)
            return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}

    return Answering().eval()
