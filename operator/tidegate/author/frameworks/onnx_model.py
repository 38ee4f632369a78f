"""ONNX as it is: a file, its weights inside or beside it, a folder of the ONNX Model Zoo, or a model from a factory.

The Zoo keeps requests and their answers beside each model: they become its golden samples.  Only outputs of ZipMap are
changed, because no request carries them; the model as it came is then run beside the new one.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from tidegate.author.casts import MAX_GIVEN, as_answer, as_sample
from tidegate.author.columns import as_inputs
from tidegate.author.describe import interface_of
from tidegate.author.frameworks import Converted, Found
from tidegate.author.frameworks.zipmap import Dictionaries, Flattened, flatten, has_zipmap, label_lines
from tidegate.author.request import PackRequest
from tidegate.author.session import Array, Tensors, open_runner
from tidegate.author.weights import load_graph
from tidegate.bundle.errors import GoldenInvalid
from tidegate.bundle.manifest import MAX_GOLDEN, Interface, TensorSpec

NUMBER = re.compile(r"\d+")


def convert(found: Found, request: PackRequest) -> Converted:
    """The same model, lists of dictionaries flattened; the given data is put into the form of its inputs."""
    if found.path is None:
        assert isinstance(found.value, onnx.ModelProto)
        return _from_memory(found.value, request)
    (file,) = found.path.glob("*.onnx") if found.path.is_dir() else (found.path,)
    model = load_graph(file)
    flattened = flatten(model)
    interface = interface_of(model)
    samples = tuple(_test_data(found.path, interface, flattened)) if found.path.is_dir() else ()
    plain = Converted(model, None, weights=file.parent, data=_data(request, interface), samples=samples)
    return _compared(plain, file, interface, flattened) if flattened else plain


def _from_memory(given: onnx.ModelProto, request: PackRequest) -> Converted:
    if not has_zipmap(given):
        return Converted(given, None, data=_data(request, interface_of(given)))
    model = onnx.ModelProto()
    model.CopyFrom(given)  # which stays as it is, to be compared with
    flattened = flatten(model)
    interface = interface_of(model)
    plain = Converted(model, None, data=_data(request, interface))
    if not flattened:  # a list that is no output
        return plain
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(given.SerializeToString())
        return _compared(plain, file, interface, flattened)


def _compared(plain: Converted, file: Path, interface: Interface, flattened: tuple[Flattened, ...]) -> Converted:
    """With the model as it came to be compared with, and its classes, which the tensors do not name."""
    original = Dictionaries(open_runner(file, interface), flattened)
    labels, why_none = label_lines(flattened)
    cures = (*(one.told for one in flattened), *filter(None, [why_none]))
    return replace(plain, original=original, cures=cures, labels=labels)


def _data(request: PackRequest, interface: Interface) -> Tensors | None:
    return as_inputs(request.data, interface) if request.data else None


def _test_data(folder: Path, interface: Interface, flattened: Sequence[Flattened]) -> Iterator[tuple[Tensors, Tensors]]:
    lists = {one.output: one for one in flattened}
    for place in _in_order(folder.glob("test_data_set_*"))[:MAX_GOLDEN]:
        yield _tensors(place, "input", interface.inputs, {}), _tensors(place, "output", interface.outputs, lists)


def _tensors(folder: Path, side: str, specs: Sequence[TensorSpec], lists: Mapping[str, Flattened]) -> dict[str, Array]:
    """The tensors in input_0.pb, input_1.pb …: in the order of the graph, whatever they are called inside."""
    files = _in_order(folder.glob(f"{side}_*.pb"))
    if len(files) != len(specs):
        raise GoldenInvalid(f"{len(files)} files {side}_*.pb, the model has {len(specs)} {side}s", where=str(folder))
    cast = as_sample if side == "input" else as_answer
    return {
        spec.name: cast(_read(file, lists.get(spec.name)), spec.element_type, f"{file}: '{spec.name}'")
        for file, spec in zip(files, specs, strict=True)
    }


def _read(file: Path, flattened: Flattened | None) -> Array:
    if (size := file.stat().st_size) > MAX_GIVEN:
        raise GoldenInvalid(f"it has {size:,} bytes, allowed are {MAX_GIVEN:,}", where=str(file))
    return _table(file, flattened) if flattened else _tensor(file)


def _table(file: Path, flattened: Flattened) -> Array:
    """A list of dictionaries as the tensor that the output is now."""
    kept = onnx.SequenceProto()
    try:
        kept.ParseFromString(file.read_bytes())
        if not kept.map_values:
            raise ValueError("there is none in it")
        rows = [_by_class(row) for row in kept.map_values]
    except (DecodeError, ValueError, TypeError, KeyError, IndexError) as error:
        raise GoldenInvalid(f"it holds no list of dictionaries: {str(error)[:120]}", where=str(file)) from None
    try:
        return flattened.table(rows)
    except ValueError as error:
        raise GoldenInvalid(str(error)[:300], where=str(file)) from None


def _by_class(row: onnx.MapProto) -> dict[int | str, Any]:
    found = numpy_helper.to_dict(row)
    return {name.decode() if isinstance(name, bytes) else name: value for name, value in found.items()}


def _tensor(file: Path) -> Array:
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(file.read_bytes())
        return np.asarray(numpy_helper.to_array(tensor))
    except (DecodeError, ValueError, TypeError, KeyError) as error:
        raise GoldenInvalid(f"it holds no tensor: {str(error)[:120]}", where=str(file)) from None


def _in_order(paths: Iterator[Path]) -> list[Path]:
    """By their number, not their text: input_10 comes after input_9."""
    return sorted(paths, key=lambda path: [int(number) for number in NUMBER.findall(path.name)])
