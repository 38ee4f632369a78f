"""Reading JSON bodies: arrays of numbers by `_json_numbers`, everything else by orjson.

`_json_numbers` (C, built with the package) takes the arrays of numbers out of a text, 27,648 of them in 0.14 ms where
simdjson takes 0.34 ms and orjson with numpy 1.2 ms (docs/performance.md); orjson reads the little that is left.  Where
it could not be built, orjson reads all of it: the answers are the same, those to large JSON bodies take longer.
"""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np
import orjson

from tidegate_runtime.errors import BadRequest, TooLarge
from tidegate_runtime.interfaces import Array
from tidegate_runtime.types import Carrier

try:
    from tidegate_runtime import _json_numbers as native
except ImportError:
    native = None  # type: ignore[assignment]

COUNTED: Final = 1 << 22  # without `native`: bodies above this are weighed before orjson reads them
WEIGHTS: Final = {b",": 1, b"[": 2, b":": 4, b"{": 6}  # in values of 32 bytes; as in _json_numbers.c
MARK: Final = os.urandom(8).hex()  # so that nothing a client sends can be taken for a place
PLACE: Final = 2  # a place is a list of MARK and a number: wherever a list is wrong, it is
WIDE: Final = {"d": np.dtype("f8"), "i": np.dtype("i8"), "u": np.dtype("u8")}
KINDS: Final = {"d": "fractions", "i": "whole numbers", "u": "whole numbers"}
Text = bytes | bytearray | memoryview
Shape = tuple[int, ...]
# The numbers, which of WIDE they are, the sizes of the lists they were in, the least of them and the greatest.
Lifted = tuple[bytearray, str, Shape, float, float]


def is_native() -> bool:
    """Whether arrays of numbers are read by `_json_numbers`."""
    return native is not None


class JsonReader:
    """Reads bodies of at most `most` values, which take some 32 bytes of memory each; an object weighs more."""

    __slots__ = ("_most",)

    def __init__(self, most: int) -> None:
        self._most = most

    def lift(self, text: Text) -> tuple[Text, list[Lifted]]:
        """The text with places where arrays of numbers were, and those; raises TooLarge. `lifted` knows a place."""
        if native is None:
            if len(text) > COUNTED and _weight(bytes(text)) > self._most:
                raise self._too_large()
            return text, []
        try:
            return native.lift(text, MARK, self._most)
        except OverflowError:
            raise self._too_large() from None

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the JSON body holds more than {self._most} values: send it as binary tensors")


def _weight(text: bytes) -> int:
    return sum(weight * text.count(sign) for sign, weight in WEIGHTS.items())


def document(rest: Text, arrays: list[Lifted]) -> dict[str, Any]:
    """What `JsonReader.lift` left, as plain values and places; raises BadRequest."""
    try:
        found = orjson.loads(rest)
    except (
        orjson.JSONDecodeError
    ) as error:  # its place is the rest's, which is the client's only when nothing is missing
        raise BadRequest(f"the body is not valid JSON: {error.msg if arrays else error}") from None
    if type(found) is not dict:
        raise BadRequest("the body must be a JSON object")
    return found


def lifted(value: Any, arrays: list[Lifted]) -> Lifted | None:
    """The array whose place `value` is, None when it is none."""
    return arrays[value[1]] if type(value) is list and len(value) == PLACE and value[0] == MARK else None


def plain(value: Any, arrays: list[Lifted]) -> Any:
    """The value as orjson would have read it, had nothing been lifted."""
    array = lifted(value, arrays)
    if array is None:
        return value
    numbers, kind, sizes, _, _ = array
    return np.frombuffer(numbers, WIDE[kind]).reshape(sizes).tolist()


def tensor_of_numbers(carrier: Carrier, array: Lifted, shape: Shape, count: int) -> Array:
    """The tensor of a lifted array, flat or nested exactly like `shape`; raises ValueError with a sentence."""
    numbers, kind, sizes, low, high = array
    if sizes not in (shape, (count,)):
        raise ValueError(_misfit(carrier, sizes, shape, count))
    if kind not in carrier.kinds:
        raise ValueError(carrier.unfit(KINDS[kind]))
    if low < carrier.least or high > carrier.most:
        raise ValueError(carrier.out_of_range)
    wide = np.frombuffer(numbers, WIDE[kind])
    return (wide if wide.dtype == carrier.dtype else wide.astype(carrier.dtype)).reshape(shape)


def tensor(carrier: Carrier, values: Any, shape: Shape, count: int) -> Array:
    """The same of `data` as orjson read it."""
    if type(values) is not list:
        raise ValueError("data must be a list")
    flat = _flat(values, shape, count) if values and type(values[0]) is list else values
    if len(flat) != count:
        raise ValueError(_few(shape, count, len(flat)))
    return carrier.from_list(carrier, flat).reshape(shape)


def shape_of(values: Any) -> Shape:
    """The shape that the first element of each level says; `tensor` looks whether the others agree."""
    shape = []
    while type(values) is list:
        shape.append(len(values))
        if not values:
            break
        values = values[0]
    return tuple(shape)


def _flat(values: list[Any], shape: Shape, count: int) -> list[Any]:
    """Nested lists flattened, one level of `shape` after the other."""
    for level, size in enumerate(shape):
        width = shape[level + 1] if level + 1 < len(shape) else None
        if level == 0 and len(values) != size:
            raise ValueError(_rows(shape, len(values)))
        if width is None:
            break
        if len(values) > count > 0 or not all(type(part) is list and len(part) == width for part in values):
            raise ValueError(_unlike(shape, width))
        values = [value for part in values for value in part]
    return values


def _misfit(carrier: Carrier, sizes: Shape, shape: Shape, count: int) -> str:
    """What `tensor` would say of lists of these sizes."""
    if len(sizes) == 1 or (not shape and sizes[0] != count):
        return _few(shape, count, sizes[0])
    if shape and sizes[0] != shape[0]:
        return _rows(shape, sizes[0])
    for level, width in enumerate(shape[1:], 1):
        if sizes[level : level + 1] != (width,):
            return _unlike(shape, width)
    return carrier.unfit("lists")


def _few(shape: Shape, count: int, given: int) -> str:
    return f"its shape {list(shape)} needs {count} values but data has {given}"


def _rows(shape: Shape, given: int) -> str:
    return f"data has {given} rows where its shape {list(shape)} says {shape[0]}"


def _unlike(shape: Shape, width: int) -> str:
    return f"data is not nested like its shape {list(shape)}: lists of {width} are expected"
