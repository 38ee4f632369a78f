"""What one process counted, in a form that adds up: plain sums as they stand, and each second of traffic once.

Seconds are told one by one because the sums of squares of the evidence (analysis: bad ones come in clumps) belong to
the bins of the whole server: `(k₁+k₂)²/(n₁+n₂)` cannot be made from the sums of two processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from tidegate_runtime.counters import Counters, Second, Spread
from tidegate_runtime.interfaces import Kind

KINDS: Final[tuple[Kind, ...]] = ("requests", "pinned")  # golden samples on demand are run by the main process alone
K = TypeVar("K")
Bars = tuple[tuple[int, ...], float]  # a spread's counts and sum


@dataclass(frozen=True, slots=True)
class Plain:
    """Sums since a process started."""

    codes: Mapping[int, int] = field(default_factory=dict)
    queue_seconds: Bars = ((), 0.0)
    compute_seconds: Bars = ((), 0.0)
    batch_rows: Bars = ((), 0.0)
    batch_requests: Bars = ((), 0.0)
    throttled: int = 0
    client_errors: int = 0
    gone: int = 0
    dropped: int = 0  # of what was to be shadowed
    further: Mapping[str, int] = field(default_factory=dict)  # see further.py

    @classmethod
    def of(cls, counters: Counters, dropped: int, further: Mapping[str, int]) -> Plain:
        """As they stand now."""
        return cls(
            dict(counters.codes), _bars(counters.queue_seconds), _bars(counters.compute_seconds),
            _bars(counters.batch_rows), _bars(counters.batch_requests),
            counters.throttled, counters.client_errors, counters.gone, dropped, further,
        )  # fmt: skip

    def plus(self, other: Plain) -> Plain:
        """Of both."""
        return Plain(
            _added(self.codes, other.codes), _sum(self.queue_seconds, other.queue_seconds),
            _sum(self.compute_seconds, other.compute_seconds), _sum(self.batch_rows, other.batch_rows),
            _sum(self.batch_requests, other.batch_requests),
            self.throttled + other.throttled, self.client_errors + other.client_errors, self.gone + other.gone,
            self.dropped + other.dropped, _added(self.further, other.further),
        )  # fmt: skip


class Seconds:
    """Takes each second of a process's traffic once, after it is over. Used on the thread that counts."""

    def __init__(self, counters: Counters) -> None:
        self._lanes = {kind: counters.lanes[kind] for kind in KINDS}
        self._told = dict.fromkeys(KINDS, 0)
        for lane in self._lanes.values():
            lane.closed = deque()

    def before(self, until: int) -> list[tuple[Kind, Second]]:
        """Those before `until` that were not taken yet; also when nothing has followed them."""
        return [(kind, second) for kind in KINDS for second in self._of(kind, until)]

    def _of(self, kind: Kind, until: int) -> list[Second]:
        lane = self._lanes[kind]
        over = list(lane.closed or ())
        if lane.closed:
            lane.closed.clear()
        over = [second for second in (*over, lane.open) if self._told[kind] < second.at < until]
        if over:
            self._told[kind] = over[-1].at
        return over


def _added(one: Mapping[K, int], other: Mapping[K, int]) -> dict[K, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in (*one, *other)}


def _bars(spread: Spread) -> Bars:
    return tuple(spread.counts), spread.sum


def _sum(one: Bars, other: Bars) -> Bars:
    counts = tuple(a + b for a, b in zip(one[0], other[0], strict=True)) if one[0] and other[0] else one[0] or other[0]
    return counts, one[1] + other[1]
