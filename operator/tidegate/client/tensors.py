"""Tensors of the Open Inference Protocol as numpy arrays, both ways.

Texts are arrays of `str`.  BF16, which numpy lacks, is sent from an array of ml_dtypes.bfloat16 (or of plain two-byte
values, as numpy reads a file of those) and comes back as its bits in uint16.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.bundle.element_types import ELEMENT_TYPES, FLOATS

Array = npt.NDArray[Any]
LENGTH = struct.Struct("<I")  # before each text
TEXT = "BYTES"
BY_DTYPE = {np.dtype(row.numpy): row.name for row in ELEMENT_TYPES.values() if row.name != "BF16"}


def datatype_of(array: Array) -> str:
    """The protocol's name for the elements of an array; ValueError where there is none."""
    if array.dtype.kind in "US":
        return TEXT
    if array.dtype.name == "bfloat16" or array.dtype == np.dtype("V2"):
        return "BF16"
    name = BY_DTYPE.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise ValueError(f"arrays of {array.dtype} cannot be sent: use one of {' '.join(ELEMENT_TYPES)}")
    return name


def to_bytes(array: Array, datatype: str) -> bytes:
    """The elements in order, little-endian; texts each behind their length."""
    if datatype == TEXT:
        return b"".join(part for text in array.ravel().tolist() for part in _behind_its_length(text))
    if datatype == "BF16":
        return array.tobytes()
    return np.asarray(array, ELEMENT_TYPES[datatype].numpy).tobytes()


def _behind_its_length(text: object) -> tuple[bytes, bytes]:
    if not isinstance(text, str | bytes):
        raise ValueError(f"holds {type(text).__name__} where texts are expected")
    raw = text.encode() if isinstance(text, str) else text
    return LENGTH.pack(len(raw)), raw


def from_bytes(raw: memoryview, datatype: str, shape: Sequence[int]) -> Array:
    """The tensor in these bytes, which are exactly its own; ValueError where they are not."""
    if datatype == TEXT:
        return _texts(raw).reshape(shape)
    return np.frombuffer(raw, ELEMENT_TYPES[datatype].numpy).reshape(shape)


def _texts(raw: memoryview) -> Array:
    found, at = [], 0
    while at < len(raw):
        if at + LENGTH.size > len(raw):
            raise ValueError("a text ends before its length")
        start, at = at + LENGTH.size, at + LENGTH.size + LENGTH.unpack_from(raw, at)[0]
        if at > len(raw):
            raise ValueError("a text is longer than the bytes there are")
        found.append(str(raw[start:at], "utf-8"))
    return _objects(found)


def from_values(values: object, datatype: str) -> Array:
    """JSON's values, nested as deep as they are, with every bit kept; ValueError where they are of another type."""
    nested = np.array(values, object)
    flat = nested.ravel().tolist()
    if strange := set(map(type, flat)) - _expected(datatype):
        named = ", ".join(sorted("lists of different lengths" if one is list else one.__name__ for one in strange))
        raise ValueError(f"holds {named} where {datatype} values are expected")
    if datatype == TEXT:
        return _objects(flat).reshape(nested.shape)
    try:
        with np.errstate(over="raise"):
            return np.array(flat, ELEMENT_TYPES[datatype].numpy).reshape(nested.shape)
    except (OverflowError, FloatingPointError):
        raise ValueError(f"holds a number out of the range of {datatype}") from None


def to_values(array: Array) -> Any:
    """Nested lists: each number as the shortest that reads back as the same, None for what JSON cannot write."""
    if array.dtype.kind != "f":
        return array.tolist()
    shortest = array.astype(str).astype(np.float64).astype(object)
    shortest[~np.isfinite(array)] = None
    return shortest.tolist()


def _expected(datatype: str) -> set[type]:
    if datatype == "BF16":
        raise ValueError("BF16 cannot be written as JSON: give it as an array")
    if datatype in FLOATS:
        return {int, float}
    if datatype == TEXT:
        return {str}
    return {bool} if datatype == "BOOL" else {int}


def _objects(texts: list[Any]) -> Array:
    array = np.empty(len(texts), object)
    array[:] = texts
    return array
