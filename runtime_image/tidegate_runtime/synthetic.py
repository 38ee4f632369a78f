"""Golden samples as traffic: the evidence of a version that no user calls at the moment.

Counted apart as `synthetic`; a sample that is answered wrongly is a server's error there.
"""

from __future__ import annotations

import threading
import time

from tidegate.bundle.errors import GoldenMismatch
from tidegate_runtime.counters import Lane as CountLane
from tidegate_runtime.devices import DeviceUnavailable
from tidegate_runtime.golden import named_samples, require_match, run_sample
from tidegate_runtime.interfaces import Lane
from tidegate_runtime.low_priority import be_nice
from tidegate_runtime.session import OrtModel

MAX_RATE = 1000.0
MAX_COUNT = 100_000


class Synthetic:
    """Runs golden samples in turn at a steady rate until their count is done; a new wish replaces the old one."""

    def __init__(self, counts: CountLane, lane: Lane, allowed: float) -> None:
        self._counts = counts
        self._lane = lane
        self._allowed = allowed
        self._wish = threading.Condition()
        self._left = 0
        self._rate = 1.0
        self._model: OrtModel | None = None
        self._over = False
        self._thread: threading.Thread | None = None

    def ask(self, model: OrtModel, rate: float, count: int) -> None:
        """Run `count` samples, `rate` a second, from now on; the model must have samples."""
        with self._wish:
            self._model, self._rate, self._left = model, rate, count
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="synthetic", daemon=True)
                self._thread.start()
            self._wish.notify()

    def stop(self) -> None:
        """End after the run under way."""
        with self._wish:
            self._over = True
            self._wish.notify()

    def _work(self) -> None:
        be_nice()
        turn = 0
        while (model := self._next()) is not None:
            self._run(model, turn)
            turn += 1

    def _next(self) -> OrtModel | None:
        """Wait for the next sample's time; None: it is over."""
        with self._wish:
            if self._left > 0 and not self._over:
                self._wish.wait(1.0 / self._rate)
            while self._left <= 0 and not self._over:
                self._wish.wait()
            self._left -= 1
            return None if self._over else self._model

    def _run(self, model: OrtModel, turn: int) -> None:
        samples = named_samples(model)
        name, sample = samples[turn % len(samples)]
        begin = time.perf_counter()
        failed = False
        try:
            require_match(name, run_sample(model, name, sample, self._lane, self._allowed))
        except (GoldenMismatch, DeviceUnavailable):
            failed = True
        self._counts.add(time.monotonic(), time.perf_counter() - begin, failed)
