"""Runs whose tensors are bound to memory that stays: the GPU's for inputs, page-locked for what is copied both ways.

A `session.run` allocates on the GPU and copies from ordinary memory each time.  Here each shape of inputs has slots:
buffers, bound once and used again.  A slot serves one run at a time; several runs at once have a slot each.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from tidegate.bundle.manifest import Interface
from tidegate_runtime.gpu.faults import fault
from tidegate_runtime.gpu.pinned import PinnedMemory
from tidegate_runtime.interfaces import Array
from tidegate_runtime.ort import onnxruntime

MOST_BYTES: Final = 256 * 2**20  # of idle slots in the host's memory; their inputs lie on the GPU, too
# Of an input that goes by way of page-locked memory. On an H200 0.6 MB take 39 µs so, and 55 straight from numpy's;
# 19 MB take 2.0 and 1.4 ms: then the second copy costs more than what the driver does by itself.
MOST_STAGED: Final = 2**20
LEAST_SLOT: Final = 8192  # of a slot beside its tensors, which may be empty: what binds them, some objects
OTHER_SHAPE: Final = "pre-allocated output"  # ONNX Runtime's words for an output of another shape than what is bound
Key = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where tensors are bound: ONNX Runtime's name of the device, and the host's memory beside it."""

    device: str  # "cuda"; "cpu" in tests, where every step is the same
    host: PinnedMemory

    def value(self, shape: Sequence[int], dtype: np.dtype[Any]) -> Any:
        """A tensor on the device, of any content."""
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, dtype.type, self.device, 0)


class Bound:
    """A call like a session's `run`, over one or several sessions of the same model."""

    def __init__(self, sessions: Sequence[Any], interface: Interface, place: Place) -> None:
        self._turns = itertools.cycle(sessions)
        self._interface, self._place = interface, place
        self._follows = _outputs_follow_inputs(interface)
        self._idle: OrderedDict[Key, list[Slot]] = OrderedDict()  # the shape used last is at the end
        self._bytes = 0  # of idle slots
        self._lock = threading.Lock()

    def __call__(self, names: list[str], feeds: dict[str, Array], options: Any) -> list[Array]:
        key = tuple((spec.name, feeds[spec.name].shape) for spec in self._interface.inputs if spec.name in feeds)
        try:
            slot = self._take(key) or Slot(self._next_session(), names, feeds, self._place, follows=self._follows)
            outputs = slot.run(feeds, options)
        except Exception as error:  # the slot is not used again
            if fault(error) is not None:
                self._let_go()  # memory that is only kept for speed goes first
            raise
        self._give_back(key, slot)
        return outputs

    def _next_session(self) -> Any:
        with self._lock:
            return next(self._turns)

    def _take(self, key: Key) -> Slot | None:
        with self._lock:
            if not (idle := self._idle.get(key)):
                return None
            slot = idle.pop()
            self._bytes -= slot.bytes
            return slot

    def _give_back(self, key: Key, slot: Slot) -> None:
        with self._lock:
            self._idle.setdefault(key, []).append(slot)
            self._idle.move_to_end(key)
            self._bytes += slot.bytes
            while self._bytes > MOST_BYTES:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        key, idle = next(iter(self._idle.items()))
        if idle:
            self._bytes -= idle.pop().bytes
        if not idle:
            del self._idle[key]

    def _let_go(self) -> None:
        with self._lock:
            self._idle.clear()
            self._bytes = 0


class Slot:
    """The buffers of one shape of inputs, bound to one session. Not for two threads at once.

    `follows`: the outputs' shapes follow from the inputs', so that they can be bound after the first run.
    """

    __slots__ = ("_binding", "_follows", "_inputs", "_names", "_outputs", "_place", "_run", "bytes")

    def __init__(
        self, session: Any, names: list[str], feeds: Mapping[str, Array], place: Place, *, follows: bool
    ) -> None:
        self._names, self._place, self._follows = names, place, follows
        self._binding = session.io_binding()
        self._run = bound_run(session, self._binding)
        self._inputs = Inputs(self._binding, {name: (array.shape, array.dtype) for name, array in feeds.items()}, place)
        self._outputs: list[Array] | None = None  # in the host's memory, once their shapes are known
        self.bytes = LEAST_SLOT + self._inputs.bytes

    def run(self, feeds: Mapping[str, Array], options: Any) -> list[Array]:
        """All outputs, as arrays of their own."""
        self._inputs.fill(feeds)
        if self._outputs is None:
            return self._run_open(options)
        try:
            self._run(options)
        except Exception as error:
            if OTHER_SHAPE not in str(error):
                raise
            self._outputs, self._follows = None, False  # a size that has the name of an input's, and is another
            return self._run_open(options)
        return [array.copy() for array in self._outputs]

    def _run_open(self, options: Any) -> list[Array]:
        """A run whose outputs ONNX Runtime allocates."""
        for name in self._names:  # each time anew: what a run allocated would be the next one's buffer
            self._binding.bind_output(name, "cpu")
        self._run(options)
        found: list[Array] = [value.numpy() for value in self._binding.get_outputs()]
        if self._follows:
            self._outputs = [self._bind_output(name, array) for name, array in zip(self._names, found, strict=True)]
        return found

    def _bind_output(self, name: str, like: Array) -> Array:
        kept = self._place.host.empty(like.shape, like.dtype)
        self._binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(kept))
        self.bytes += kept.nbytes
        return kept


class Inputs:
    """Inputs of known shapes in the device's memory, bound; small ones filled by way of page-locked memory."""

    __slots__ = ("_held", "bytes")

    def __init__(
        self, binding: Any, tensors: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]], place: Place
    ) -> None:
        self._held: dict[str, tuple[tuple[int, ...], Array | None, Any]] = {}
        self.bytes = 0
        for name, (shape, dtype) in tensors.items():
            value = place.value(shape, dtype)
            binding.bind_ortvalue_input(name, value)
            size = math.prod(shape) * dtype.itemsize
            self._held[name] = shape, place.host.page_locked(shape, dtype) if size <= MOST_STAGED else None, value
            self.bytes += size

    def fill(self, feeds: Mapping[str, Array]) -> None:
        """Copy `feeds` to the device; raises ValueError for another shape."""
        for name, (shape, staging, value) in self._held.items():
            array = feeds[name]
            if array.shape != shape:
                raise ValueError(f"the input '{name}' has not the sizes that its buffer has")
            if staging is None:
                value.update_inplace(np.ascontiguousarray(array))
            else:
                np.copyto(staging, array)
                value.update_inplace(staging)


def bound_run(session: Any, binding: Any) -> Callable[[Any], None]:
    """A run of `binding` under the given RunOptions.

    The public call looks for a graph's number by an exception that it catches: 30 µs of a tiny model's 35.  The inner
    one is private, so the public one stands in.
    """
    inner, bound = getattr(session, "_sess", None), getattr(binding, "_iobinding", None)
    if inner is None or bound is None:
        return partial(session.run_with_iobinding, binding)
    return partial(inner.run_with_iobinding, bound)


def _outputs_follow_inputs(interface: Interface) -> bool:
    """Whether the inputs' sizes say what those of the outputs are."""
    named = {size for spec in interface.inputs for size in spec.shape}
    return all(isinstance(size, int) or size in named for spec in interface.outputs for size in spec.shape)
