"""Runs whose tensors are bound to memory that stays: the GPU's for inputs, page-locked for what is copied both ways.

A `session.run` allocates on the GPU and copies from ordinary memory each time.  Here each shape of inputs has slots:
buffers, bound once and used again.  A slot serves one run at a time; several runs at once have a slot each.
With CUDA graphs a session has one slot, because a graph repeats launches on the addresses it was recorded with, and
ONNX Runtime lets only one thread at a time run such a session.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tidegate.bundle.element_types import ELEMENT_TYPES
from tidegate.bundle.manifest import Interface
from tidegate_runtime.gpu.faults import fault
from tidegate_runtime.gpu.pinned import PinnedMemory
from tidegate_runtime.interfaces import Array
from tidegate_runtime.ort import onnxruntime

MOST_BYTES: Final = 256 * 2**20  # of idle slots; the same again on the GPU
OTHER_SHAPE: Final = "pre-allocated output"  # ONNX Runtime's words for an output of another shape than what is bound
Key = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where tensors are bound: ONNX Runtime's name of the device, and the host's memory beside it."""

    device: str  # "cuda"; "cpu" in tests, where every step is the same
    host: PinnedMemory
    graphs: bool = False


class Bound:
    """A call like a session's `run`, over one or several sessions of the same model."""

    def __init__(self, sessions: Sequence[Any], interface: Interface, place: Place) -> None:
        self._sessions = sessions
        self._turns = itertools.cycle(sessions)
        self._interface = interface
        self._place = place
        self._fixed = tuple((spec.name, spec.shape) for spec in interface.inputs)
        self._idle: OrderedDict[Key, list[Slot]] = OrderedDict()  # the shape used last is at the end
        self._bytes = 0  # of idle slots
        self._made = 0
        self._changed = threading.Condition()

    def __call__(self, names: list[str], feeds: dict[str, Array], options: Any) -> list[Array]:
        key = tuple((spec.name, feeds[spec.name].shape) for spec in self._interface.inputs if spec.name in feeds)
        if self._place.graphs and key != self._fixed:
            raise ValueError("the inputs have not the sizes that the graph was recorded with")
        slot = self._take(key)
        try:
            slot = slot or self._make(names, feeds)
            outputs = slot.run(feeds, options)
        except Exception as error:
            self._after_failure(key, slot, error)
            raise
        self._give_back(key, slot)
        return outputs

    def _take(self, key: Key) -> Slot | None:
        """An idle slot of this shape; None: make one. With graphs the one slot of a session is waited for."""
        with self._changed:
            while not (idle := self._idle.get(key)):
                if not self._place.graphs or self._made < len(self._sessions):
                    self._made += 1
                    return None
                self._changed.wait()
            slot = idle.pop()
            self._bytes -= slot.bytes
            return slot

    def _make(self, names: list[str], feeds: dict[str, Array]) -> Slot:
        with self._changed:
            session = next(self._turns)
        return Slot(session, names, feeds, self._interface, self._place)

    def _give_back(self, key: Key, slot: Slot) -> None:
        with self._changed:
            self._idle.setdefault(key, []).append(slot)
            self._idle.move_to_end(key)
            self._bytes += slot.bytes
            while self._bytes > MOST_BYTES and not self._place.graphs:
                self._drop_oldest()
            self._changed.notify()

    def _drop_oldest(self) -> None:
        key, idle = next(iter(self._idle.items()))
        if idle:
            self._bytes -= idle.pop().bytes
        if not idle:
            del self._idle[key]

    def _after_failure(self, key: Key, slot: Slot | None, error: Exception) -> None:
        """A slot of a failed run is not used again, except with graphs, which know no other."""
        if slot is not None and self._place.graphs:
            self._give_back(key, slot)
            return
        with self._changed:
            self._made -= 1
            self._changed.notify()
            if fault(error) is not None:  # memory that is only kept for speed goes first
                self._idle.clear()
                self._bytes = 0


class Slot:
    """The buffers of one shape of inputs, bound to one session. Not for two threads at once."""

    __slots__ = ("_binding", "_follows", "_inputs", "_names", "_outputs", "_place", "_session", "bytes")

    def __init__(
        self, session: Any, names: list[str], feeds: dict[str, Array], interface: Interface, place: Place
    ) -> None:
        self._session, self._names, self._place = session, names, place
        self._follows = _outputs_follow_inputs(interface)
        self._binding = session.io_binding()
        self._inputs: dict[str, tuple[Array, Any]] = {}
        self._outputs: list[Array] | None = None  # bound in the host's memory, once their shapes are known
        self.bytes = 0
        for name, array in feeds.items():
            value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype.type, place.device, 0)
            self._binding.bind_ortvalue_input(name, value)
            self._inputs[name] = (self._host(array.shape, array.dtype), value)
        if place.graphs:
            self._bind_on_device(interface)

    def run(self, feeds: dict[str, Array], options: Any) -> list[Array]:
        """All outputs, as arrays of their own."""
        for name, array in feeds.items():
            staging, value = self._inputs[name]
            np.copyto(staging, array)
            value.update_inplace(staging)
        if self._outputs is None:
            return self._run_open(options)
        try:
            self._session.run_with_iobinding(self._binding, options)
        except Exception as error:
            if OTHER_SHAPE not in str(error):
                raise
            self._outputs, self._follows = None, False  # a size that has the name of an input's, and is another
            return self._run_open(options)
        return [array.copy() for array in self._outputs]

    def _host(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        array = self._place.host.empty(shape, dtype)
        self.bytes += array.nbytes
        return array

    def _run_open(self, options: Any) -> list[Array]:
        """A run whose outputs are not in the host's buffers: not yet, or on the GPU as graphs want them."""
        if not self._place.graphs:
            for name in self._names:  # each time anew: what a run allocated would be the next one's buffer
                self._binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(self._binding, options)
        found: list[Array] = [value.numpy() for value in self._binding.get_outputs()]
        if self._place.graphs:
            return [array if array.flags.owndata else array.copy() for array in found]  # copied from the GPU already
        if self._follows:
            self._bind_in_host_memory(found)
        return found

    def _bind_on_device(self, interface: Interface) -> None:
        for spec in interface.outputs:
            kind = np.dtype(ELEMENT_TYPES[spec.element_type].numpy).type
            value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(spec.shape, kind, self._place.device, 0)
            self._binding.bind_ortvalue_output(spec.name, value)

    def _bind_in_host_memory(self, like: list[Array]) -> None:
        self._outputs = []
        for name, array in zip(self._names, like, strict=True):
            kept = self._host(array.shape, array.dtype)
            self._binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(kept))
            self._outputs.append(kept)


def _outputs_follow_inputs(interface: Interface) -> bool:
    """Whether the inputs' sizes say what those of the outputs are."""
    named = {size for spec in interface.inputs for size in spec.shape}
    return all(isinstance(size, int) or size in named for spec in interface.outputs for size in spec.shape)
