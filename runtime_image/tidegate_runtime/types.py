"""One row per element type: how each protocol carries it, both ways.

Readers raise ValueError with a sentence that follows "input 'x': "; whoever calls them adds the tensor's name.
JSON numbers keep every bit: signed and unsigned integers have a reader each, because doubles lose int64 above 2^53.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from tidegate.bundle.element_types import ELEMENT_TYPES
from tidegate_runtime.interfaces import Array

LENGTH: Final = struct.Struct("<I")
# What is nearer to zero is rounded to a finite number: the largest one is often written as 3.4028235e+38.
FLOAT32_END: Final = 2.0**128 - 2.0**103


@dataclass(frozen=True, slots=True)
class Carrier:
    """How one element type travels."""

    name: str
    dtype: np.dtype[Any]
    size: int  # bytes of one element; 0: BYTES
    python: frozenset[type]  # what orjson makes of its values; empty: not over JSON
    from_list: Callable[[Carrier, list[Any]], Array]
    from_bytes: Callable[[Carrier, memoryview, int], Array]
    to_json: Callable[[Array], bytes]
    to_bytes: Callable[[Array], bytes | memoryview]
    kinds: str = ""  # of the arrays that json_reader lifts, those it takes
    least: float = 0  # of their numbers
    most: float = 0

    @property
    def over_json(self) -> bool:
        return bool(self.python)

    @property
    def out_of_range(self) -> str:
        return (
            "holds a number too large for FP32"
            if self.name == "FP32"
            else f"holds a number out of the range of {self.name}"
        )

    def unfit(self, found: str) -> str:
        """What is said of JSON values that are not its."""
        if not self.over_json:
            return f"{self.name} cannot be sent as JSON: use the binary tensor extension"
        called = "BYTES (text)" if self.name == "BYTES" else self.name
        return f"holds {found} where {called} values are expected"


def numbers_from_list(carrier: Carrier, values: list[Any]) -> Array:
    """A flat list of parsed JSON values as an array, nothing converted silently."""
    kinds = set(map(type, values))
    if not kinds <= carrier.python:
        raise ValueError(carrier.unfit(_named(kinds - carrier.python)))
    if carrier.name == "FP32" and values and not (carrier.least <= min(values) and max(values) <= carrier.most):
        raise ValueError(carrier.out_of_range)
    try:
        return np.array(values, carrier.dtype)
    except OverflowError:
        raise ValueError(carrier.out_of_range) from None


def strings_from_list(carrier: Carrier, values: list[Any]) -> Array:
    """Texts as an object array of `str`, which is what ONNX Runtime reads without harm."""
    kinds = set(map(type, values))
    if not kinds <= carrier.python:
        raise ValueError(carrier.unfit(_named(kinds - carrier.python)))
    array = np.empty(len(values), object)
    array[:] = values
    return array


def not_over_json(carrier: Carrier, values: list[Any]) -> Array:  # noqa: ARG001 - the shape of every reader
    raise ValueError(carrier.unfit(""))


def numbers_from_bytes(carrier: Carrier, raw: memoryview, count: int) -> Array:
    """A view of the bytes as they came; a copy only where they are not aligned."""
    if len(raw) != count * carrier.size:
        expected = f"{count * carrier.size} bytes ({count} values of {carrier.name})"
        raise ValueError(f"its shape needs {expected} but it has {len(raw)}")
    array = np.frombuffer(raw, carrier.dtype)
    return array if array.flags.aligned else array.copy()


def booleans_from_bytes(carrier: Carrier, raw: memoryview, count: int) -> Array:
    """One byte each, 0 or 1: any other value would be neither true nor false inside the model."""
    array = numbers_from_bytes(carrier, raw, count)
    if array.size and array.view(np.uint8).max() > 1:
        raise ValueError("holds a byte other than 0 and 1 where BOOL values are expected")
    return array


def strings_from_bytes(carrier: Carrier, raw: memoryview, count: int) -> Array:  # noqa: ARG001
    """Each text as a 4-byte little-endian length and that many bytes of UTF-8."""
    array, at = np.empty(count, object), 0
    for index in range(count):
        start = at + LENGTH.size
        if start > len(raw):
            raise ValueError(f"ends before element {index} of {count}")
        at = start + LENGTH.unpack_from(raw, at)[0]
        if at > len(raw):
            raise ValueError(f"element {index} is said to be longer than the {len(raw)} bytes there are")
        try:
            array[index] = str(raw[start:at], "utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"element {index} is not UTF-8") from None
    if at != len(raw):
        raise ValueError(f"has {len(raw) - at} bytes more than its {count} elements need")
    return array


def numbers_to_json(array: Array) -> bytes:
    """The flat list; numbers that are not finite come out as null, which is how callers notice them."""
    return orjson.dumps(array.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)


def strings_to_json(array: Array) -> bytes:
    return orjson.dumps(array.ravel().tolist())


def refuse_json(array: Array) -> bytes:  # noqa: ARG001 - requests are refused before it comes to this
    raise ValueError("cannot be sent as JSON")


def numbers_to_bytes(array: Array) -> bytes | memoryview:
    return array.tobytes()


def strings_to_bytes(array: Array) -> bytes:
    parts: list[bytes] = []
    for text in array.ravel().tolist():
        raw = text.encode("utf-8")
        parts += (LENGTH.pack(len(raw)), raw)
    return b"".join(parts)


def _named(kinds: set[type]) -> str:
    words = {bool: "true or false", str: "text", type(None): "null", float: "fractions", dict: "objects", list: "lists",
             int: "whole numbers"}  # fmt: skip
    return ", ".join(sorted(words.get(kind, "something else") for kind in kinds))


def _carrier(name: str) -> Carrier:
    element = ELEMENT_TYPES[name]
    dtype = np.dtype(element.numpy)
    numeric = (numbers_from_bytes, numbers_to_json, numbers_to_bytes)
    if name == "BYTES":
        texts = (strings_from_bytes, strings_to_json, strings_to_bytes)
        return Carrier(name, dtype, 0, frozenset({str}), strings_from_list, *texts)
    if name == "BOOL":
        flags = (booleans_from_bytes, *numeric[1:])
        return Carrier(name, dtype, 1, frozenset({bool}), numbers_from_list, *flags)
    if name in ("FP16", "BF16"):
        binary = (not_over_json, numbers_from_bytes, refuse_json, numbers_to_bytes)
        return Carrier(name, dtype, 2, frozenset(), *binary)
    if name in ("FP32", "FP64"):
        end = FLOAT32_END if name == "FP32" else math.inf
        ends = (math.nextafter(-end, 0.0), math.nextafter(end, 0.0))
        return Carrier(name, dtype, element.bytes, frozenset({int, float}), numbers_from_list, *numeric, "diu", *ends)
    whole = np.iinfo(dtype)
    ends = (int(whole.min), int(whole.max))
    return Carrier(name, dtype, element.bytes, frozenset({int}), numbers_from_list, *numeric, "iu", *ends)


CARRIERS: Final[dict[str, Carrier]] = {name: _carrier(name) for name in ELEMENT_TYPES}
