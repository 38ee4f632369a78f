"""An example of a model's inputs, which its exporter follows through forward(): as arrays by the names of arguments.

It comes from --data, from the factory that gave it beside the model, or is made up from the sizes in --interface.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.author.request import DataSet, PackRequest
from tidegate.author.session import Array
from tidegate.errors import Invalid

Arrays = dict[str, Array]

ROWS = 4  # followed by the exporter; more only cost time
ENOUGH = 8  # rows that show the range of their columns
BATCH_SIZE, OPEN_SIZE = 3, 8
WHERE = "the example"
GIVE_ONE = (
    "let the function return a pair: return model, example; or give --data FILE, or sizes: "
    "--interface NAME=batch,3,32,32"
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The arguments of forward(); `open_ended` means that it takes any number of them (*args)."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    open_ended: bool = False


def parameters_of(forward: Any) -> Parameters:
    """What forward() takes, by its signature."""
    kinds = inspect.Parameter
    rows = inspect.signature(forward).parameters.values()
    named = [row for row in rows if row.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    return Parameters(
        tuple(row.name for row in named if row.default is kinds.empty),
        tuple(row.name for row in named if row.default is not kinds.empty),
        not named and any(row.kind is kinds.VAR_POSITIONAL for row in rows),
    )


def example_of(given: Any, parameters: Parameters, request: PackRequest) -> Arrays:
    """Arrays by argument, from the data, what the factory gave, or sizes; raises Invalid without any of these."""
    if request.data is not None:
        return _by_name(request.data.columns, parameters, request.data.name)
    if given is not None:
        return _from_factory(given, parameters)
    if request.interface:
        return {
            name: np.random.default_rng(request.golden.seed).random(_sizes(sizes, request.golden.dims))
            for name, sizes in _in_order(request.interface, parameters).items()
        }
    raise Invalid("there is no example of what the model takes", where="the source", do=GIVE_ONE)


def _from_factory(given: Any, parameters: Parameters) -> Arrays:
    if hasattr(given, "keys"):
        return _by_name({str(name): as_array(given[name]) for name in given.keys()}, parameters, WHERE)  # noqa: SIM118 - a DataFrame too
    arrays = [as_array(part) for part in (given if isinstance(given, tuple | list) else (given,))]
    names = [*parameters.required, *parameters.optional]
    if parameters.open_ended:
        names += [f"input_{number}" for number in range(len(names), len(arrays))]
    if not len(parameters.required) <= len(arrays) <= len(names):
        raise Invalid(
            f"it has {len(arrays)} parts, forward() takes {', '.join(parameters.required) or 'nothing'}", where=WHERE
        )
    return dict(zip(names, arrays, strict=False))


def _by_name(columns: Mapping[str, Any], parameters: Parameters, where: str) -> Arrays:
    """Arrays named like arguments; a single argument takes one array, or all columns side by side."""
    if len(parameters.required) == 1 and parameters.required[0] not in columns:
        arrays = [np.asarray(array) for array in columns.values()]
        joined = arrays[0] if len(arrays) == 1 else np.stack([array.reshape(-1) for array in arrays], axis=1)
        return {parameters.required[0]: joined}
    if missing := [name for name in parameters.required if name not in columns]:
        raise Invalid(f"there is nothing for '{missing[0]}', which forward() takes", where=where)
    wanted = (*parameters.required, *parameters.optional)
    return {name: np.asarray(columns[name]) for name in wanted if name in columns}


def _in_order(
    interface: Mapping[str, Sequence[int | str]], parameters: Parameters
) -> Mapping[str, Sequence[int | str]]:
    """As forward() takes them; a single argument may have any name, and so may those of *args."""
    wanted = (*parameters.required, *parameters.optional)
    if parameters.open_ended or not wanted or len(interface) == len(parameters.required) == 1:
        return interface
    if unknown := [name for name in interface if name not in wanted]:
        raise Invalid(f"'{unknown[0]}' is nothing that forward() takes: {', '.join(wanted)}", where="--interface")
    if missing := [name for name in parameters.required if name not in interface]:
        raise Invalid(f"there are no sizes for '{missing[0]}', which forward() takes", where="--interface")
    return {name: interface[name] for name in wanted if name in interface}


def _sizes(sizes: Sequence[int | str], dims: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(
        dims.get(size, OPEN_SIZE if axis else BATCH_SIZE) if isinstance(size, str) else size
        for axis, size in enumerate(sizes)
    )


def require_no_gap(given: Arrays, parameters: Parameters, where: str) -> None:
    """Raise Invalid where an argument is left out before another one: by place they would be mistaken."""
    names = (*parameters.required, *parameters.optional)
    gap = [name for name in names[: len(given)] if name not in given]
    if gap and set(given) <= set(names):  # a single argument may have any name
        raise Invalid(f"there is nothing for '{gap[0]}', which comes before '{list(given)[-1]}'", where=where)


def as_array(value: Any) -> Array:
    """A tensor of torch, or anything that NumPy understands, as an array."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def readings(example: Arrays, float_type: str) -> Iterator[Arrays]:
    """Ways to read the example, the likeliest first: numbers may be meant as floats or as whole ones.

    Pixels in a file are often whole where the model computes with floats; sizes alone do not say what they are of.
    """
    yield {name: _typed(array, float_type) for name, array in example.items()}
    yield {name: array.astype(float_type) for name, array in example.items()}
    yield {name: array.astype(np.int64) for name, array in example.items()}


def _typed(array: Array, float_type: str) -> Array:
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    return array if array.dtype.kind == "b" else array.astype(float_type)


def for_tracing(example: Arrays) -> Arrays:
    """Two to four rows: exporters take a size of one for a size that is always one."""
    rows = min((len(array) for array in example.values() if array.ndim), default=0)
    if not rows:
        return example
    wanted = np.arange(min(max(rows, 2), ROWS)) % rows
    alike = {len(array) for array in example.values() if array.ndim}
    return {name: array[wanted] if array.ndim and len(alike) == 1 else array for name, array in example.items()}


def as_data(example: Arrays, request: PackRequest) -> DataSet | None:
    """The rows for proofs: given ones, or an example large enough to show what usual values are."""
    if request.data is not None:
        return request.data
    enough = all(array.ndim and len(array) >= ENOUGH for array in example.values())
    return DataSet("example", example) if enough else None
