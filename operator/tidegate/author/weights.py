"""Splitting a model into its graph and its weights: one file per large tensor, named by its content.

Models that share a backbone then share files in every store and cache, and a model of any size goes through
in pieces: tensors that already lie outside the graph are copied as streams, never loaded whole.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import onnx
from onnx import numpy_helper

from tidegate.author.graph import attribute_tensors, initializers
from tidegate.errors import Invalid

# Of a ResNet-50 0.2 % then stay in the graph, which every derived bundle sends anew; at 1 MiB it was 6.8 %.
SPLIT_BYTES = 1 << 16
CHUNK = 1 << 22
MODEL_FILE = "model.onnx"


@dataclass(frozen=True, slots=True)
class Outside:
    """Where a tensor's bytes lie when they are not in the graph."""

    path: Path
    offset: int
    length: int


def load_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file without the weights beside it; raises Invalid when it is something else."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise _not_onnx(path) from error
    if not model.graph.node or not model.ir_version:
        raise _not_onnx(path)
    return model


def _not_onnx(path: Path) -> Invalid:
    return Invalid(
        "this is not an ONNX model: it is damaged, or another format under this name",
        where=str(path),
        do="export it again, or pass the file of the original framework",
        reason="ModelInvalid",
    )


def write_split(model: onnx.ModelProto, base: Path, out: Path) -> Path:
    """Write `model` into `out` as graph plus weight files; changes `model` to point at them.  Gives the graph's path.

    `base` is the folder that the model's own external data is relative to.
    """
    for tensor in initializers(model):
        outside = _outside(tensor, base)
        if outside and outside.length >= SPLIT_BYTES:
            _point_at(tensor, _copy(outside, out))
        elif outside:
            _inline(tensor, outside)
        elif _inside_bytes(tensor) >= SPLIT_BYTES:
            _as_raw(tensor)
            _point_at(tensor, _write(tensor.raw_data, out))
    for tensor in attribute_tensors(model):
        if outside := _outside(tensor, base):
            _inline(tensor, outside)
    path = out / MODEL_FILE
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """How many bytes the tensor's shape and type ask for; strings count as nothing."""
    count = 1
    for dim in tensor.dims:
        count *= dim
    bits = _BITS.get(tensor.data_type, 0)
    return (count * bits + 7) // 8


_BITS = {
    **{getattr(onnx.TensorProto, name): 4 for name in ("INT4", "UINT4")},
    **{
        getattr(onnx.TensorProto, name): 8
        for name in ["BOOL", "INT8", "UINT8", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"]
    },
    **{getattr(onnx.TensorProto, name): 16 for name in ("FLOAT16", "BFLOAT16", "INT16", "UINT16")},
    **{getattr(onnx.TensorProto, name): 32 for name in ("FLOAT", "INT32", "UINT32")},
    **{getattr(onnx.TensorProto, name): 64 for name in ("DOUBLE", "INT64", "UINT64", "COMPLEX64")},
    onnx.TensorProto.COMPLEX128: 128,
}


def _outside(tensor: onnx.TensorProto, base: Path) -> Outside | None:
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return None
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = PurePosixPath(entries.get("location", ""))
    if not location.name or location.is_absolute() or ".." in location.parts:
        raise Invalid(f"tensor {tensor.name} lies outside the model's folder", where=str(location))
    path, offset = base / location, int(entries.get("offset") or 0)
    length = tensor_bytes(tensor)
    if not path.is_file():
        raise Invalid(f"the weights of tensor {tensor.name} are missing", where=str(path), reason="FileMissing")
    if path.stat().st_size < offset + length:
        raise Invalid(
            f"tensor {tensor.name} needs {length} bytes from byte {offset}, the file has {path.stat().st_size}",
            where=str(path),
            do="copy the file again: it is cut off",
        )
    return Outside(path, offset, length)


def _inside_bytes(tensor: onnx.TensorProto) -> int:
    return len(tensor.raw_data) or tensor_bytes(tensor)


def _as_raw(tensor: onnx.TensorProto) -> None:
    """Move values from a typed field (float_data, …) into raw bytes."""
    if tensor.raw_data:
        return
    raw = numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name)
    tensor.CopyFrom(raw)


def _inline(tensor: onnx.TensorProto, outside: Outside) -> None:
    with outside.path.open("rb") as source:
        source.seek(outside.offset)
        tensor.raw_data = source.read(outside.length)
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _point_at(tensor: onnx.TensorProto, file: Path) -> None:
    size = file.stat().st_size
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", f"weights/{file.name}"), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)


def _write(raw: bytes, out: Path) -> Path:
    path = _weights(out) / f"{hashlib.sha256(raw).hexdigest()[:16]}.bin"
    if not path.exists():
        path.write_bytes(raw)
    return path


def _copy(outside: Outside, out: Path) -> Path:
    """Stream one tensor into its own file; the name is known only when all of it was hashed."""
    unnamed, digest, left = _weights(out) / ".partial", hashlib.sha256(), outside.length
    with outside.path.open("rb") as source, unnamed.open("wb") as target:
        source.seek(outside.offset)
        while left:
            chunk = source.read(min(CHUNK, left))
            digest.update(chunk)
            target.write(chunk)
            left -= len(chunk)
    path = unnamed.with_name(f"{digest.hexdigest()[:16]}.bin")
    os.replace(unnamed, path)  # noqa: PTH105 - replaces an equal file quietly, also where Path.rename would not
    return path


def _weights(out: Path) -> Path:
    folder = out / "weights"
    folder.mkdir(exist_ok=True)
    return folder
