"""A thread that runs batches one after another over the shared session, on a lane of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

from tidegate_runtime.batcher import Batch
from tidegate_runtime.errors import NO_TIME_LEFT, DeviceLost, RequestError, RunFailed, TooSlow
from tidegate_runtime.interfaces import Lane, LoadedModel
from tidegate_runtime.logs import log

MOST_SHOWN: Final = 2000  # characters of an error of ONNX Runtime


@dataclass(frozen=True, slots=True)
class Run:
    """One run that was made, and how it ended."""

    batch: Batch
    seconds: float
    error: RequestError | None


def run_batch(model: LoadedModel, lane: Lane, batch: Batch) -> list[Run]:
    """Run `batch` and give each call its outputs or its error; a bad request spoils nobody else's answer.

    The runs that were made: one, or after its failure one more for each call.
    """
    run = _run(model, lane, batch)
    if run.error is None or len(batch.calls) == 1 or isinstance(run.error, TooSlow | DeviceLost):
        for call in batch.calls:
            call.error = run.error
        return [run]
    alone = [_run(model, lane, Batch([call], call.rows, call.key)) for call in batch.calls]
    for call, its_own in zip(batch.calls, alone, strict=True):
        call.error = its_own.error
    return [run, *alone]


def _run(model: LoadedModel, lane: Lane, batch: Batch) -> Run:
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
        call.rows_together, call.requests_together = batch.rows, len(batch.calls)
    return Run(batch, ended - started, failed_run(failure, terminated) if failure is not None else None)


def failed_run(failure: Exception, terminated: bool) -> RequestError:
    """What the clients of a failed run are told."""
    if terminated:
        return TooSlow("the run was ended at its deadline")
    cause = failure.__cause__ or failure
    log("error", "run failed", error=f"{type(cause).__name__}: {cause}"[:MOST_SHOWN])
    if isinstance(failure, RequestError):
        return failure
    return RunFailed("the model failed on this input: the server's log says why")


Finished = Callable[[Batch, list[Run]], None]


class Worker:
    """One thread of those that share `batches`: `finished(batch, runs)` is called on it for each; None ends it."""

    def __init__(self, model: LoadedModel, lane: Lane, batches: SimpleQueue[Batch | None], finished: Finished) -> None:
        self._model = model
        self._lane = lane
        self._finished = finished
        self._batches = batches
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            self._finished(batch, self._run(batch))

    def _run(self, batch: Batch) -> list[Run]:
        """`run_batch`, unless while it was in the queue all clients left or the time of all was up."""
        if any(call.wanted for call in batch.calls) and time.monotonic() <= batch.deadline:
            return run_batch(self._model, self._lane, batch)
        for call in batch.calls:
            call.error = TooSlow(NO_TIME_LEFT)
        return []
