"""The counts of all processes as one set, as if one process had counted them.

A second is closed when every living process has told it, so its bin is the whole server's.  Nothing goes back when a
process dies: what it had told stays, what it had not (a fifth of a second) is lost with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import reduce

from tidegate_runtime.counters import Counters, Lane, Second, Spread
from tidegate_runtime.divergence import Clock
from tidegate_runtime.interfaces import Kind
from tidegate_runtime.siblings.counts import KINDS, Bars, Plain


class MergedLane(Lane):
    """Seconds of several processes. Written by the main process's loop, read from any thread."""

    __slots__ = ("_waiting",)

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._waiting: dict[int, Second] = {}

    def put(self, told: Second) -> None:
        """A second of one process."""
        merged = self._waiting.setdefault(told.at, Second(told.at))
        merged.counts = [a + b for a, b in zip(merged.counts, told.counts, strict=True)]
        merged.errors += told.errors
        merged.seconds += told.seconds

    def close(self, until: int) -> None:
        """All processes have told the seconds before `until`."""
        totals, none = self._state
        over = sorted(at for at in self._waiting if at < until)
        for at in over:
            totals = totals.plus(self._waiting.pop(at))
        if over:
            self._state = (totals, none)


class Together(Counters):
    """Read like the counters of one process; `own` are the main process's, which alone compares and runs samples."""

    def __init__(self, own: Counters, further: Mapping[str, int]) -> None:
        super().__init__(clock=own.clock)
        self.instance = own.instance
        self.divergence = own.divergence
        self.dropped = 0
        self.further: Mapping[str, int] = further
        self._merged = {kind: MergedLane(own.clock) for kind in KINDS}
        self.lanes = {**own.lanes, **self._merged}
        self._departed = Plain()
        self._latest: dict[object, Plain] = {}  # by process
        self._until = int(own.clock.start)

    def until(self, now: float | None = None) -> int:  # noqa: ARG002 - what is not told yet is not over
        return self._until

    def absorb(self, process: object, plain: Plain, seconds: list[tuple[Kind, Second]]) -> None:
        """What a process told; `process` is whatever stands for it and for no other."""
        self._latest[process] = plain
        for kind, second in seconds:
            self._merged[kind].put(second)

    def depart(self, process: object) -> None:
        """It is gone; what it told stays."""
        self._departed = self._departed.plus(self._latest.pop(process, Plain()))

    def close(self, until: int) -> None:
        """Every living process has told what lies before `until`: now it can be read."""
        until = max(self._until, until)  # a process that has just begun may be a second behind
        for lane in self._merged.values():
            lane.close(until)
        self._until = until  # after the lanes: whoever reads meanwhile finds all of the seconds that it is told of
        total = reduce(Plain.plus, self._latest.values(), self._departed)
        self.codes = defaultdict(int, total.codes)
        self.queue_seconds = _spread(self.queue_seconds, total.queue_seconds)
        self.compute_seconds = _spread(self.compute_seconds, total.compute_seconds)
        self.batch_rows = _spread(self.batch_rows, total.batch_rows)
        self.batch_requests = _spread(self.batch_requests, total.batch_requests)
        self.throttled, self.client_errors = total.throttled, total.client_errors
        self.gone, self.dropped, self.further = total.gone, total.dropped, total.further


def _spread(before: Spread, bars: Bars) -> Spread:
    """A new one: whoever reads the old one on another thread sees it whole."""
    spread = Spread(before.edges)
    spread.counts, spread.sum = list(bars[0]) or spread.counts, bars[1]
    return spread
