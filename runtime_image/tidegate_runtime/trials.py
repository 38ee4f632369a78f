"""Runs of a model before anybody waits for them: each under a deadline, each timed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tidegate_runtime.errors import DeviceFull, DeviceLost
from tidegate_runtime.gpu.faults import before_requests
from tidegate_runtime.interfaces import Array, Lane
from tidegate_runtime.ort_errors import sentence

if TYPE_CHECKING:
    from tidegate_runtime.session import OrtModel


class TrialFailed(Exception):
    """A run did not give an answer; the text is a sentence. `full`: for want of memory on the GPU."""

    def __init__(self, why: str, full: DeviceFull | None = None) -> None:
        super().__init__(why)
        self.full = full


class Trials:
    """Runs `model` on `lane`, each for `allowed` seconds at most; `best` has the least seconds of a run by its rows."""

    def __init__(self, model: OrtModel, lane: Lane, allowed: float) -> None:
        self._model, self._lane, self._allowed = model, lane, allowed
        self.best: dict[int, float] = {}

    def run(self, feeds: dict[str, Array], rows: int = 1) -> list[Array]:
        """All outputs; raises TrialFailed, and DeviceUnavailable when the GPU is lost."""
        begin = time.perf_counter()
        self._lane.begin(time.monotonic() + self._allowed)
        try:
            outputs = self._model.run(feeds, self._lane)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's own errors share no base class
            late = self._lane.end()
            path = self._model.bundle.path / self._model.bundle.manifest.model.file
            why = f"it did not end within {self._allowed:g} s" if late else sentence(error, path)
            if isinstance(error, DeviceLost):
                raise before_requests(error) from None
            raise TrialFailed(why, error if isinstance(error, DeviceFull) else None) from None
        self._lane.end()
        seconds = time.perf_counter() - begin
        self.best[rows] = min(seconds, self.best.get(rows, seconds))
        return outputs
