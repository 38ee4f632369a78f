"""A thread that runs batches one after another over the shared session, on a lane of its own."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from tidegate_runtime.batcher import Batch
from tidegate_runtime.errors import RequestError, RunFailed, TooSlow
from tidegate_runtime.interfaces import Lane, LoadedModel


def run_batch(model: LoadedModel, lane: Lane, batch: Batch) -> None:
    """Run `batch` and give each call its outputs or its error; a bad request spoils nobody else's answer."""
    error = _run(model, lane, batch)
    if error is None:
        return
    if len(batch.calls) == 1 or isinstance(error, TooSlow):
        for call in batch.calls:
            call.error = error
        return
    for call in batch.calls:
        call.error = _run(model, lane, Batch([call], call.rows, call.key))


def _run(model: LoadedModel, lane: Lane, batch: Batch) -> RequestError | None:
    started = time.monotonic()
    lane.begin(batch.deadline)
    failure: Exception | None = None
    try:
        outputs = model.run(batch.feeds(), lane)
        batch.split(outputs)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime has a dozen of its own, all from C++
        failure = error
    terminated = lane.end()
    ended = time.monotonic()
    for call in batch.calls:
        call.started, call.ended = started, ended
    if failure is None:
        return None
    if terminated:
        return TooSlow("the run was ended at its deadline")
    _tell(failure)
    return RunFailed("the model failed on this input: the server's log says why")


def _tell(error: Exception) -> None:
    line = {"level": "error", "event": "run failed", "error": f"{type(error).__name__}: {error}"[:2000]}
    print(json.dumps(line), file=sys.stderr, flush=True)  # noqa: T201 - the log


class Worker:
    """One thread; `give` it a batch and `finished(worker, batch)` is called on that thread."""

    def __init__(self, model: LoadedModel, lane: Lane, finished: Callable[[Worker, Batch], None]) -> None:
        self._model = model
        self._lane = lane
        self._finished = finished
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._thread.start()

    def give(self, batch: Batch) -> None:
        self._batches.put(batch)

    def stop(self) -> None:
        """End the thread after what it does now; it is a daemon, so a run that never ends holds nobody up."""
        self._batches.put(None)

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            run_batch(self._model, self._lane, batch)
            self._finished(self, batch)
