"""ONNX as it is: a file, its weights inside or beside it, a folder of the ONNX Model Zoo, or a model from a factory.

The Zoo keeps requests and their answers beside each model: they become its golden samples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from tidegate.author.casts import MAX_GIVEN, as_answer, as_sample
from tidegate.author.columns import as_inputs
from tidegate.author.describe import interface_of
from tidegate.author.frameworks import Converted, Found
from tidegate.author.request import PackRequest
from tidegate.author.session import Array, Tensors
from tidegate.author.weights import load_graph
from tidegate.bundle.errors import GoldenInvalid
from tidegate.bundle.manifest import MAX_GOLDEN, Interface, TensorSpec

NUMBER = re.compile(r"\d+")


def convert(found: Found, request: PackRequest) -> Converted:
    """The same model; only the given data is put into the form of its inputs."""
    if found.path is None:
        assert isinstance(found.value, onnx.ModelProto)
        return Converted(found.value, None, data=_data(request, interface_of(found.value)))
    (file,) = found.path.glob("*.onnx") if found.path.is_dir() else (found.path,)
    model = load_graph(file)
    interface = interface_of(model)
    samples = tuple(_test_data(found.path, interface)) if found.path.is_dir() else ()
    return Converted(model, None, weights=file.parent, data=_data(request, interface), samples=samples)


def _data(request: PackRequest, interface: Interface) -> Tensors | None:
    return as_inputs(request.data, interface) if request.data else None


def _test_data(folder: Path, interface: Interface) -> Iterator[tuple[Tensors, Tensors]]:
    for place in _in_order(folder.glob("test_data_set_*"))[:MAX_GOLDEN]:
        yield _tensors(place, "input", interface.inputs), _tensors(place, "output", interface.outputs)


def _tensors(folder: Path, side: str, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """The tensors in input_0.pb, input_1.pb …: in the order of the graph, whatever they are called inside."""
    files = _in_order(folder.glob(f"{side}_*.pb"))
    if len(files) != len(specs):
        raise GoldenInvalid(f"{len(files)} files {side}_*.pb, the model has {len(specs)} {side}s", where=str(folder))
    cast = as_sample if side == "input" else as_answer
    return {
        spec.name: cast(_tensor(file), spec.element_type, f"{file}: '{spec.name}'")
        for file, spec in zip(files, specs, strict=True)
    }


def _tensor(file: Path) -> Array:
    if (size := file.stat().st_size) > MAX_GIVEN:
        raise GoldenInvalid(f"it has {size:,} bytes, allowed are {MAX_GIVEN:,}", where=str(file))
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(file.read_bytes())
        return np.asarray(numpy_helper.to_array(tensor))
    except (DecodeError, ValueError, TypeError, KeyError) as error:
        raise GoldenInvalid(f"it holds no tensor: {str(error)[:120]}", where=str(file)) from None


def _in_order(paths: Iterator[Path]) -> list[Path]:
    """By their number, not their text: input_10 comes after input_9."""
    return sorted(paths, key=lambda path: [int(number) for number in NUMBER.findall(path.name)])
