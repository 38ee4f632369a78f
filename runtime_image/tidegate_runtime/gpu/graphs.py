"""Runs repeated as one CUDA graph: all launches of a model at once, on the addresses that they were recorded with.

Only for models of fixed sizes that run on the GPU as a whole.  ONNX Runtime keeps a recording with the thread that
made it, and lets no second thread run such a session: each session has a thread of its own, and all recordings are
made before the first answer, because other work on the GPU can spoil one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np

from tidegate.bundle.element_types import ELEMENT_TYPES
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate_runtime.gpu.bound import Inputs, Place, bound_run
from tidegate_runtime.interfaces import Array


class Graphed:
    """A call like a session's `run`, over one or several sessions of the same model, one run at a time in each."""

    def __init__(self, sessions: Sequence[Any], interface: Interface, place: Place) -> None:
        self._recordings = [_Recording(session, interface, place) for session in sessions]
        self._free: SimpleQueue[_Recording] = SimpleQueue()
        self._begun = threading.Lock()
        self._recorded = False

    def __call__(self, names: list[str], feeds: dict[str, Array], options: Any) -> list[Array]:  # noqa: ARG002
        if not self._recorded:
            self._record(feeds, options)
        recording = self._free.get()
        try:
            return recording.run(feeds, options)
        finally:
            self._free.put(recording)

    def _record(self, feeds: dict[str, Array], options: Any) -> None:
        with self._begun:
            if self._recorded:
                return
            for recording in self._recordings:
                recording.run(feeds, options)
            for recording in self._recordings:
                self._free.put(recording)
            self._recorded = True


class _Recording:
    """One session, its thread, and the buffers that its graph knows."""

    def __init__(self, session: Any, interface: Interface, place: Place) -> None:
        self._session, self._interface, self._place = session, interface, place
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="graph")
        self._binding: Any = None
        self._run_bound: Callable[[Any], None]
        self._inputs: Inputs
        self._outputs: list[Any] = []

    def run(self, feeds: Mapping[str, Array], options: Any) -> list[Array]:
        """All outputs, as arrays of their own; the first run records."""
        return self._thread.submit(self._run_here, feeds, options).result()

    def _run_here(self, feeds: Mapping[str, Array], options: Any) -> list[Array]:
        if self._binding is None:
            self._bind()
        self._inputs.fill(feeds)
        self._run_bound(options)
        found: list[Array] = [value.numpy() for value in self._outputs]
        return [array if array.flags.owndata else array.copy() for array in found]  # the GPU's are copies already

    def _bind(self) -> None:
        binding = self._session.io_binding()
        self._inputs = Inputs(binding, {spec.name: _fixed(spec) for spec in self._interface.inputs}, self._place)
        self._outputs = [self._place.value(*_fixed(spec)) for spec in self._interface.outputs]
        for spec, value in zip(self._interface.outputs, self._outputs, strict=True):
            binding.bind_ortvalue_output(spec.name, value)
        self._run_bound, self._binding = bound_run(self._session, binding), binding


def _fixed(spec: TensorSpec) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of a tensor whose sizes are all fixed."""
    shape = tuple(size for size in spec.shape if isinstance(size, int))
    return shape, np.dtype(ELEMENT_TYPES[spec.element_type].numpy)
