"""Names of dynamic dimensions: what the user calls them, and something readable for what an exporter counted up.

PyTorch calls a dimension `s77`, tf2onnx `unk__3`: names that say nothing, differ from run to run, and hide that two
inputs share their batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import onnx

from tidegate.author.graph import BATCH, graphs, real_inputs
from tidegate.errors import Invalid

COUNTED = re.compile(r"[su]\d+|unk__\d+")
WORD = re.compile(r"\w+")

Size = int | str
Dim = onnx.TensorShapeProto.Dimension


def name_dimensions(model: onnx.ModelProto, wanted: Mapping[str, Sequence[Size]]) -> list[str]:
    """Give dimensions the names or sizes in `wanted`, by input, and readable names to the rest.

    Says what was renamed, a sentence each.  Raises Invalid for an input that is not there, another number of
    dimensions, or a size that the graph has fixed.
    """
    new = _asked_for(model.graph, wanted)
    new |= {old: name for old, name in _readable(model.graph).items() if old not in new}
    for graph in graphs(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                _rename(dim, new)
    return [f"the dimension '{old}' is called '{name}'" for old, name in new.items() if COUNTED.fullmatch(old)]


def _asked_for(graph: onnx.GraphProto, wanted: Mapping[str, Sequence[Size]]) -> dict[str, Size]:
    new: dict[str, Size] = {}
    inputs = {value.name: value.type.tensor_type.shape.dim for value in real_inputs(graph)}
    for name, sizes in wanted.items():
        if name not in inputs:
            raise _wrong(f"there is no input '{name}': the model's inputs are {', '.join(inputs)[:200]}")
        if len(inputs[name]) != len(sizes):
            raise _wrong(f"'{name}' has {len(inputs[name])} dimensions, not {len(sizes)}")
        for axis, (dim, size) in enumerate(zip(inputs[name], sizes, strict=True)):
            _ask(new, f"dimension {axis} of '{name}'", dim, size)
    return new


def _ask(new: dict[str, Size], what: str, dim: Dim, size: Size) -> None:
    if dim.WhichOneof("value") == "dim_value":
        if dim.dim_value != size:
            raise _wrong(f"{what} is always {dim.dim_value} in this model, not '{size}'", do=FIXED)
        return
    if not dim.dim_param:
        dim.dim_param = str(size)
    if new.setdefault(dim.dim_param, size) != size:
        raise _wrong(f"{what} must be as large as the one called '{new[dim.dim_param]}'", do="give both one name")


FIXED = "export the model with that dimension dynamic"


def _wrong(what: str, do: str = "") -> Invalid:
    return Invalid(what, where="--interface", do=do)


def _readable(graph: onnx.GraphProto) -> dict[str, str]:
    """A name for each dimension that was only counted: `batch` for the first of an input, else by input and axis."""
    taken = {dim.dim_param for _, _, dim in _dimensions(graph)}
    new: dict[str, str] = {}
    for name, axis, dim in _dimensions(graph):
        if COUNTED.fullmatch(dim.dim_param) and dim.dim_param not in new:
            called = BATCH if axis == 0 else f"{name}_{axis}"
            new[dim.dim_param] = called if axis == 0 or called not in taken else f"{called}_size"
    return new


def _dimensions(graph: onnx.GraphProto) -> Iterator[tuple[str, int, Dim]]:
    for value in (*real_inputs(graph), *graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            yield value.name, axis, dim


def _rename(dim: Dim, new: Mapping[str, Size]) -> None:
    """A dimension by its name, or the names inside an expression such as `2*s77`."""
    if not dim.dim_param:
        return
    size = new.get(dim.dim_param)
    if size is None:
        size = WORD.sub(lambda word: str(new.get(word[0], word[0])), dim.dim_param)
    if isinstance(size, int):
        dim.dim_value = size
    else:
        dim.dim_param = size
