"""Reading JSON bodies: orjson for small ones, simdjson for large ones, and tensors out of either.

# orjson up to 2 KB, simdjson above: a 294 KB request in 0.46 ms against 1.2 ms (docs/performance.md)
simdjson reads a whole array of numbers at once, but flattens nested lists without a word, ragged ones too; so the
lists are counted: there must be exactly as many as the declared shapes have, level by level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

import numpy as np
import orjson

from tidegate_runtime.errors import BadRequest, TooLarge
from tidegate_runtime.interfaces import Array
from tidegate_runtime.signature import MOST_TENSORS
from tidegate_runtime.types import Carrier

try:
    import simdjson
except ImportError:  # no wheel for this Python: orjson and numpy stand in
    simdjson = None  # type: ignore[assignment]

SMALL: Final = 2048
COUNTED: Final = 1 << 22  # bodies above this have their commas counted before they are parsed: a number takes 24 bytes
MOST_LISTS: Final = 1 << 20
MOST_MEMBERS: Final = 1024
REQUEST: Final = ("id", "inputs", "outputs", "parameters")  # what is read of each object, in either protocol
TENSOR: Final = ("name", "datatype", "shape", "parameters", "data")
PREDICTION: Final = ("signature_name", "instances", "inputs", "parameters")
BRACKET: Final = ord("[")
WIDE: Final = {"d": np.dtype("f8"), "i": np.dtype("i8"), "u": np.dtype("u8")}
Shape = tuple[int, ...]


class JsonReader:
    """Parses bodies one after another, on one thread; the parser's memory is used again.

    `plain` says what of a large document becomes plain values; tensors stay simdjson arrays, which are read at once.
    """

    __slots__ = ("_most_numbers", "_parser", "_plain")

    def __init__(self, most_numbers: int, plain: Callable[[Any], Any] | None = None) -> None:
        self._most_numbers = most_numbers
        self._parser: Any = None
        self._plain = plain or _plain_inference

    def read(self, text: bytes | bytearray | memoryview) -> Any:
        """The document: plain values, but in a large one tensors are simdjson arrays."""
        if len(text) <= SMALL or simdjson is None:
            return self._small(text)
        if len(text) > COUNTED and bytes(text).count(b",") > self._most_numbers:
            raise TooLarge(f"the JSON body holds more than {self._most_numbers} values: send it as binary tensors")
        try:
            return self._plain(self._large(text))
        except (ValueError, RuntimeError, RecursionError):
            raise BadRequest("the body is not valid JSON") from None

    def _small(self, text: bytes | bytearray | memoryview) -> Any:
        if len(text) > COUNTED and bytes(text).count(b",") > self._most_numbers:
            raise TooLarge(f"the JSON body holds more than {self._most_numbers} values: send it as binary tensors")
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"the body is not valid JSON: {error}") from None

    def _large(self, text: bytes | bytearray | memoryview) -> Any:
        if len(text) > COUNTED or self._parser is None:
            parser = simdjson.Parser()
            if len(text) <= COUNTED:
                self._parser = parser
            return parser.parse(text)
        try:
            return self._parser.parse(text)
        except RuntimeError:  # an answer under way still holds the last document: leave it its parser
            self._parser = simdjson.Parser()
            return self._parser.parse(text)


def _plain_inference(document: Any) -> Any:
    """The Open Inference Protocol: all that it knows but `inputs[].data`; of too many inputs only that they are."""
    if not isinstance(document, simdjson.Object):
        return None
    return {key: _plain_member(key, value) for key, value in _members(document, REQUEST)}


def _plain_member(key: str, value: Any) -> Any:
    if key == "inputs" and isinstance(value, simdjson.Array):
        return [_plain_tensor(item) for item in islice(value, MOST_TENSORS + 1)]
    return _value(value)


def _plain_tensor(item: Any) -> Any:
    if not isinstance(item, simdjson.Object):
        return item
    return {key: value if key == "data" else _value(value) for key, value in _members(item, TENSOR)}


def plain_prediction(document: Any) -> Any:
    """TensorFlow Serving: all that it knows but `instances`, `inputs`, and the members of `inputs`."""
    if not isinstance(document, simdjson.Object):
        return None
    return {key: _tensors_or_value(key, value) for key, value in _members(document, PREDICTION)}


def _tensors_or_value(key: str, value: Any) -> Any:
    if key == "inputs" and isinstance(value, simdjson.Object):
        return {name: _tensor_or_value(inner) for name, inner in _members(value, value.keys())}
    return _tensor_or_value(value) if key in ("instances", "inputs") else _value(value)


def _tensor_or_value(value: Any) -> Any:
    return value if isinstance(value, simdjson.Array) else _value(value)


def _members(found: Any, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Those members of a simdjson object that it has, and not by items(): it would turn every array into a list.

    An object finds a member by going through all of them: 30,000 looked for one by one took 0.5 s.
    """
    _require_few(found)
    for name in names:
        if name in found:
            yield name, found[name]


def _require_few(found: Any) -> None:
    if len(found) > MOST_MEMBERS:  # 5 million of them took 2.8 s
        raise BadRequest(f"an object of the request has more than {MOST_MEMBERS} members")


def _value(value: Any) -> Any:
    if isinstance(value, simdjson.Object):
        _require_few(value)
        return value.as_dict()
    return value.as_list() if isinstance(value, simdjson.Array) else value


def holds_objects(values: Any) -> bool:
    """Whether a list begins with an object: rows that name what is in them."""
    first = values[0]
    return type(first) is dict or (simdjson is not None and isinstance(first, simdjson.Object))


def plain_rows(rows: Any) -> Iterator[Any]:
    """The elements of a list as plain values, each when it is its turn: a client may send millions."""
    return iter(rows) if type(rows) is list else map(_value, rows)


def is_list(values: Any) -> bool:
    """Whether these are the values of a tensor that is not a scalar."""
    return type(values) is list or (simdjson is not None and isinstance(values, simdjson.Array))


def shape_of(values: Any) -> Shape:
    """The shape that the first element of each level says; `tensor` looks whether the others agree."""
    shape = []
    while is_list(values):
        shape.append(len(values))
        if not len(values):
            break
        values = values[0]
    return tuple(shape)


def tensor(carrier: Carrier, values: Any, shape: Shape, count: int) -> Array:
    """The array of `data`, flat or nested exactly like `shape`; raises ValueError with a sentence."""
    if type(values) is list:
        flat = _flat(values, shape, count) if values and type(values[0]) is list else values
        if len(flat) != count:
            raise ValueError(f"its shape {list(shape)} needs {count} values but data has {len(flat)}")
        return carrier.from_list(carrier, flat).reshape(shape)
    if simdjson is None or not isinstance(values, simdjson.Array):
        raise ValueError("data must be a list")
    if not carrier.buffer:
        return tensor(carrier, values.as_list(), shape, count)
    _check_levels(values, shape, count)
    return _whole(carrier, values, count).reshape(shape)


def _flat(values: list[Any], shape: Shape, count: int) -> list[Any]:
    """Nested lists flattened, one level of `shape` after the other."""
    for level, size in enumerate(shape):
        width = shape[level + 1] if level + 1 < len(shape) else None
        if level == 0 and len(values) != size:
            raise ValueError(f"data has {len(values)} rows where its shape {list(shape)} says {size}")
        if width is None:
            break
        if len(values) > count > 0 or not all(type(part) is list and len(part) == width for part in values):
            raise ValueError(f"data is not nested like its shape {list(shape)}: lists of {width} are expected")
        values = [value for part in values for value in part]
    return values


def _check_levels(values: Any, shape: Shape, count: int) -> None:
    """Whether a simdjson array is flat, or nested exactly like `shape`."""
    nested = len(values) > 0 and isinstance(values[0], simdjson.Array)
    if not nested:
        if len(values) != count:
            raise ValueError(f"its shape {list(shape)} needs {count} values but data has {len(values)}")
        return
    level = [values]
    for depth, size in enumerate(shape):
        if any(not isinstance(part, simdjson.Array) or len(part) != size for part in level):
            raise ValueError(f"data is not nested like its shape {list(shape)}: lists of {size} are expected")
        if depth + 1 == len(shape):
            return
        if len(level) * size > MOST_LISTS:
            raise ValueError("data is nested in too many lists: send it flat or as a binary tensor")
        level = [inner for part in level for inner in part]


def _whole(carrier: Carrier, values: Any, count: int) -> Array:
    try:
        wide: Array = np.frombuffer(values.as_buffer(of_type=carrier.buffer), WIDE[carrier.buffer])
    except TypeError:
        raise ValueError(f"holds something other than {carrier.name} values") from None
    except ValueError:
        raise ValueError(f"holds a number out of the range of {carrier.name}") from None
    if len(wide) != count:
        raise ValueError(f"its shape needs {count} values but data has {len(wide)}")
    return wide if wide.dtype == carrier.dtype else _narrowed(carrier, wide)


def _narrowed(carrier: Carrier, wide: Array) -> Array:
    """The values in the type the model takes; none may be lost on the way."""
    if carrier.buffer == "d":
        with np.errstate(over="ignore"):
            narrow = wide.astype(carrier.dtype)
        if not np.isfinite(narrow).all():
            raise ValueError(f"holds a number too large for {carrier.name}")
        return narrow
    limits = np.iinfo(carrier.dtype)
    if wide.size and (wide.min() < limits.min or wide.max() > limits.max):
        raise ValueError(f"holds a number out of the range of {carrier.name}")
    return wide.astype(carrier.dtype)


def check_for_stray_lists(text: bytes | bytearray | memoryview, tensors: list[tuple[Any, Shape]], others: int) -> None:
    """Refuse lists deeper than the shape in what simdjson read: it would flatten them.

    Counting brackets takes 30 µs (bytes.count: 240) where looking at each value takes 3 ms; the values are looked at
    only when there are more than the `others` lists of the request and its tensors need (texts may hold some, too).
    """
    expected = others + sum(_lists(values, shape) for values, shape in tensors)
    if np.count_nonzero(np.frombuffer(text, np.uint8) == BRACKET) == expected:
        return
    for values, shape in tensors:
        if simdjson is not None and isinstance(values, simdjson.Array):
            nested = len(values) > 0 and isinstance(values[0], simdjson.Array)
            _check_leaves(values, len(shape) - 1 if nested else 0)


def _lists(values: Any, shape: Shape) -> int:
    if not len(values) or not isinstance(values[0], list if type(values) is list else simdjson.Array):
        return 1
    lists, total = 1, 1
    for size in shape[:-1]:
        lists *= size
        total += lists
    return total


def _check_leaves(values: Any, depth: int) -> None:
    if depth > 0:
        for part in values:
            _check_leaves(part, depth - 1)
    elif any(isinstance(value, simdjson.Array) for value in values):
        raise ValueError("data has lists inside lists that its shape does not have")
