"""What a request must look like, worked out once from the model's interface: names, types and shapes.

A shape that was accepted before is accepted by one dictionary lookup.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from tidegate.bundle.manifest import TensorSpec
from tidegate_runtime.errors import BadRequest
from tidegate_runtime.interfaces import Array, LoadedModel
from tidegate_runtime.types import CARRIERS

REMEMBERED: Final = 1024
SHOWN: Final = 16
LONGEST_SHOWN: Final = 128
MOST_NAMES: Final = 32
WHOLE: Final = frozenset((int,))
NO_SHAPE: Final = "shape must be a list of whole numbers, none below 0"
MOST_ELEMENTS: Final = 1 << 40
MOST_TENSORS: Final = 1024  # of a request or an answer
Shape = tuple[int, ...]


class Port:
    """One input or output of the model."""

    __slots__ = ("_known", "_most_rows", "carrier", "dynamic", "name", "optional", "shape", "spec")

    def __init__(self, spec: TensorSpec, most_rows: int) -> None:
        self.spec = spec
        self.name = spec.name
        self.shape = spec.shape
        self.optional = spec.optional
        self.carrier = CARRIERS[spec.element_type]
        self.dynamic = any(isinstance(size, str) or size < 0 for size in spec.shape)
        self._most_rows = most_rows
        self._known: dict[Shape, int] = {}

    def count(self, shape: Sequence[Any]) -> int:
        """How many elements a tensor of `shape` has; raises ValueError unless the model takes that shape."""
        if len(shape) != len(self.shape):  # and not a look further: it may be as long as a body
            raise ValueError(self._unfit(shape) if all(map(_is_size, shape[:SHOWN])) else NO_SHAPE)
        if not WHOLE.issuperset(map(type, shape)):  # True == 1 and 1.0 == 1
            raise ValueError(NO_SHAPE)
        key = tuple(shape)
        known = self._known.get(key)
        if known is not None:
            return known
        if any(size < 0 for size in key):
            raise ValueError(NO_SHAPE)
        count = self._checked(key)
        if len(self._known) < REMEMBERED:
            self._known[key] = count
        return count

    def _checked(self, shape: tuple[Any, ...]) -> int:
        if not all(
            isinstance(want, str) or want < 0 or want == size for want, size in zip(self.shape, shape, strict=True)
        ):
            raise ValueError(self._unfit(shape))
        if shape and not self._is_fixed(0) and shape[0] > self._most_rows:
            raise ValueError(f"first dimension {shape[0]} is above the limit of {self._most_rows}")
        if math.prod(size or 1 for size in shape) > MOST_ELEMENTS:  # beside a 0, too: numpy has no larger ones
            raise ValueError(f"shape {_shown(shape)} has too many elements")
        return math.prod(shape)

    def _unfit(self, shape: Sequence[Any]) -> str:
        return f"shape {_shown(shape)} does not fit {_shown(self.shape)}"

    def _is_fixed(self, axis: int) -> bool:
        want = self.shape[axis]
        return not isinstance(want, str) and want >= 0


class Signature:
    """The inputs and outputs of the model, by name, and what must agree between them."""

    __slots__ = ("_counted", "_loose", "_named", "batchable", "inputs", "inputs_in_order", "most_rows", "outputs",
                 "required", "single", "uniform")  # fmt: skip

    def __init__(self, model: LoadedModel, most_rows: int) -> None:
        self.inputs_in_order = tuple(Port(spec, most_rows) for spec in model.inputs)
        self.inputs = {port.name: port for port in self.inputs_in_order}
        self.outputs = {spec.name: Port(spec, most_rows) for spec in model.outputs}
        fixed = [port.shape[0] for port in self.inputs_in_order if port.shape]
        self.most_rows = max(most_rows, *(size for size in fixed if isinstance(size, int)), 0)
        self.batchable = model.batchable
        self.single = len(self.inputs) == 1
        # No dynamic dimension but the first and no optional input: every request can go with every other.
        self.uniform = all(
            not port.optional and all(port._is_fixed(axis) for axis in range(1, len(port.shape)))
            for port in self.inputs_in_order
        )
        self.required = frozenset(port.name for port in self.inputs_in_order if not port.optional)
        self._named = _shared_dimensions(self.inputs_in_order)
        required = [port for port in self.inputs_in_order if not port.optional]
        self._counted = required[0].name if required else ""
        rows = required[0].shape[:1] if required else ()
        self._loose = frozenset(port.name for port in self.inputs_in_order if port.optional and port.shape[:1] != rows)

    def require_number(self, inputs: int) -> None:
        """Whether a request may have so many inputs; raises BadRequest."""
        if inputs > MOST_TENSORS:
            raise BadRequest(f"a request may have at most {MOST_TENSORS} inputs")
        if not inputs and self.required:
            raise BadRequest("inputs must be a list of tensors, at least one")

    def declared(self, name: str, datatype: str, shape: Sequence[Any], feeds: Container[str]) -> tuple[Port, int]:
        """The input that a request names, and how many elements it has; raises BadRequest. `feeds`: those before it."""
        port = self.input(name)
        if name in feeds:
            raise BadRequest(f"input {name!r} is there twice")
        if datatype != port.carrier.name:
            raise BadRequest(
                f"input {name!r}: datatype {port.carrier.name} is expected, not {datatype[:LONGEST_SHOWN]!r}"
            )
        try:
            return port, port.count(shape)
        except ValueError as error:
            raise BadRequest(f"input {name!r}: {error}") from None

    def input(self, name: str) -> Port:
        """The input that a request names; raises BadRequest."""
        port = self.inputs.get(name)
        if port is None:
            raise _not_one("input", name, self.inputs)
        return port

    def output(self, name: str) -> Port:
        """The output that a request names; raises BadRequest."""
        port = self.outputs.get(name)
        if port is None:
            raise _not_one("output", name, self.outputs)
        return port

    def check_together(self, feeds: Mapping[str, Array]) -> None:
        """Whether all required inputs are there and named dimensions agree; raises BadRequest."""
        if len(feeds) < len(self.required) or not self.required <= feeds.keys():
            missing = ", ".join(map(repr, islice(sorted(self.required - feeds.keys()), MOST_NAMES)))
            raise BadRequest(f"input {missing} is missing")
        for symbol, places in self._named.items():
            sizes = {feeds[name].shape[axis] for name, axis in places if name in feeds}
            if len(sizes) > 1:
                names = " and ".join(sorted({repr(name) for name, _ in places}))
                raise BadRequest(f"inputs {names} must agree in dimension {symbol!r}: found {sorted(sizes)}")

    def rows(self, feeds: Mapping[str, Array]) -> int:
        """The size of the first dimension: what a run costs goes with it, and requests are joined along it."""
        array = feeds.get(self._counted)
        if array is None:
            array = next(iter(feeds.values()), None)
        return int(array.shape[0]) if array is not None and array.shape else 1

    def is_apart(self, feeds: Mapping[str, Array]) -> bool:
        """Whether an optional input is given that has not a row for each row: no two requests may share it."""
        return not self.uniform and not self._loose.isdisjoint(feeds)

    def key(self, feeds: Mapping[str, Array]) -> object:
        """What must be equal for two requests to share a run."""
        if self.uniform:
            return None
        return tuple((name, array.shape[1:] if self.batchable else array.shape) for name, array in feeds.items())


def _not_one(side: str, name: str, names: Iterable[str]) -> BadRequest:
    known = ", ".join(repr(known) for known in islice(names, MOST_NAMES))
    return BadRequest(f"{side} {name[:LONGEST_SHOWN]!r} is not one of the model's: {known}")


def _shared_dimensions(ports: Sequence[Port]) -> dict[str, list[tuple[str, int]]]:
    places: dict[str, list[tuple[str, int]]] = {}
    for port in ports:
        for axis, size in enumerate(port.shape):
            if isinstance(size, str):
                places.setdefault(size, []).append((port.name, axis))
    return {symbol: found for symbol, found in places.items() if len(found) > 1}


def _is_size(size: Any) -> bool:
    return type(size) is int and size >= 0


def _shown(shape: Sequence[Any]) -> str:
    return "[" + ", ".join(str(size) for size in shape[:SHOWN]) + ("" if len(shape) <= SHOWN else ", …") + "]"
