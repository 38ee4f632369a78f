"""Which dimensions of a model's inputs may have any size, and what they are called.  Needs no torch.

An exporter fixes every size of the example unless it is told otherwise.  Open are those that are named on the command
line; else the batch, and the length of sequences: of token ids, and of (batch, time, features).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from tidegate.author.graph import BATCH, real_inputs
from tidegate.author.session import Array
from tidegate.errors import Invalid

SEQUENCE = "sequence"
TOKENS, SERIES = 2, 3  # dimensions of token ids, and of (batch, time, features)
WORD = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Fixed:
    """A dimension of an input, what it is called, and its only size."""

    input: str
    axis: int
    called: str
    size: int


Names = dict[str, dict[int, str]]  # input -> axis -> what that dimension is called


@dataclass(frozen=True, slots=True)
class InputShape:
    """One input of the example; `whole` says that it holds whole numbers, such as token ids."""

    sizes: tuple[int, ...]
    whole: bool


def shapes_of(example: Mapping[str, Array]) -> dict[str, InputShape]:
    """The shape of each input."""
    return {name: InputShape(array.shape, array.dtype.kind in "iu") for name, array in example.items()}


def open_axes(inputs: Mapping[str, InputShape], wanted: Mapping[str, Sequence[int | str]]) -> Names:
    """The dimensions to be left open: as `wanted` says (`--interface`), by habit for inputs that it leaves out.

    Raises Invalid for an input that is not there, or sizes that the example does not have.
    """
    if unknown := [name for name in wanted if name not in inputs]:
        raise _wrong(f"there is no input '{unknown[0]}': the model's inputs are {', '.join(inputs)[:200]}")
    names = _by_habit(inputs)
    for name, sizes in wanted.items():
        names[name] = _as_asked(name, inputs[name].sizes, sizes)
    return names


def _by_habit(inputs: Mapping[str, InputShape]) -> Names:
    names: Names = {name: {} for name in inputs}
    rows = next((shape.sizes[0] for shape in inputs.values() if shape.sizes), 0)
    length = 0
    for name, shape in inputs.items():
        if shape.sizes and shape.sizes[0] == rows:
            names[name][0] = BATCH
        if len(shape.sizes) != (TOKENS if shape.whole else SERIES):
            continue
        length = length or shape.sizes[1]
        names[name][1] = SEQUENCE if shape.sizes[1] == length else f"{name}_{SEQUENCE}"
    return names


def _as_asked(name: str, sizes: tuple[int, ...], wanted: Sequence[int | str]) -> dict[int, str]:
    if len(sizes) != len(wanted):
        raise _wrong(f"'{name}' has {len(sizes)} dimensions in the example, not {len(wanted)}")
    for axis, (size, asked) in enumerate(zip(sizes, wanted, strict=True)):
        if isinstance(asked, int) and asked != size:
            raise _wrong(f"dimension {axis} of '{name}' is {size} in the example, not {asked}")
    return {axis: asked for axis, asked in enumerate(wanted) if isinstance(asked, str)}


def _wrong(what: str) -> Invalid:
    return Invalid(what, where="--interface", do="write a size of the example, or a name for any size")


def dimensions(names: Names) -> tuple[str, ...]:
    """Every name that occurs, in the order of the inputs."""
    return tuple(dict.fromkeys(called for axes in names.values() for called in axes.values()))


def without(names: Names, called: str) -> Names:
    """The same with the dimension of this name fixed."""
    return {name: {axis: other for axis, other in axes.items() if other != called} for name, axes in names.items()}


def size_of(example: Mapping[str, Array], names: Names, called: str) -> int:
    """How large the dimension of this name is in the example."""
    sizes = (example[name].shape[axis] for name, axes in names.items() for axis in axes if axes[axis] == called)
    return int(next(sizes))


def resized(example: Mapping[str, Array], names: Names, called: str, size: int) -> dict[str, Array]:
    """The example with another size of the dimension of this name: cut off, or its values once more."""
    changed = dict(example)
    for name, axes in names.items():
        for axis, other in axes.items():
            if other == called:
                array = changed[name]
                changed[name] = np.take(array, np.arange(size) % array.shape[axis], axis=axis)
    return changed


def grown(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """The dimensions of an output that follow an input's, which was made one larger."""
    return [axis for axis, (old, new) in enumerate(zip(before, after, strict=False)) if new == old + 1]


def closed_in(model: onnx.ModelProto, names: Names) -> list[Fixed]:
    """Dimensions that should be open and that the exporter closed: it writes their size where a name belongs."""
    return [
        Fixed(value.name, axis, called, int(size))
        for value in real_inputs(model.graph)
        for axis, called in names.get(value.name, {}).items()
        if (size := _closed_size(value.type.tensor_type.shape.dim[axis])).isdigit()
    ]


def _closed_size(dim: onnx.TensorShapeProto.Dimension) -> str:
    return str(dim.dim_value) if dim.WhichOneof("value") == "dim_value" else dim.dim_param


def fix(model: onnx.ModelProto, fixed: Fixed) -> None:
    """Say in the graph that this dimension has one size."""
    value = next(value for value in model.graph.input if value.name == fixed.input)
    value.type.tensor_type.shape.dim[fixed.axis].dim_value = fixed.size


def call_by_name(model: onnx.ModelProto, names: Names) -> None:
    """Give the dimensions of inputs their names, and outputs the same instead of the exporter's symbols (`s77`)."""
    known: dict[str, str] = {}
    for value in real_inputs(model.graph):
        for axis, called in names.get(value.name, {}).items():
            dim = value.type.tensor_type.shape.dim[axis]
            if dim.WhichOneof("value") != "dim_value":
                known.setdefault(dim.dim_param, called)
                dim.dim_param = called
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = _reworded(dim.dim_param, known)
    del model.graph.value_info[:]  # holds the same symbols for every tensor between; ONNX Runtime infers them itself


def _reworded(dimension: str, known: Mapping[str, str]) -> str:
    """A name, or those inside an expression such as `2*s77`."""
    return known.get(dimension) or WORD.sub(lambda word: known.get(word[0], word[0]), dimension)


def unnamed_outputs(names: Iterable[str], inputs: Iterable[str]) -> list[str]:
    """Output names that are no input's: one graph cannot have both."""
    taken = set(inputs)
    return [f"{name}_out" if name in taken else name for name in names]
