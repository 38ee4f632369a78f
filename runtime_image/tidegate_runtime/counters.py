"""What this server counted, in the form the rollout's tests need: per second, because real errors come in clumps.

One `Lane` per kind of traffic (users', pinned by header, synthetic).  The thread that answers writes, other threads
read, and nobody waits: a lane publishes `(totals, open second)` as one value, so a reader always sees a consistent
pair and counters never go back.  Everything is cumulative since the process started; nothing can be reset.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left
from collections import defaultdict, deque
from dataclasses import dataclass, replace
from time import monotonic, time
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from tidegate_runtime.divergence import Clock, DivergenceCounter
from tidegate_runtime.interfaces import Kind

EVIDENCE_VERSION: Final = "tidegate.io/evidence/v1"
# 100 µs to 60 s, 5 % apart: any limit a user writes can be read off within 5 %.  plan/evidence.py has the same formula.
EDGES: Final[tuple[float, ...]] = tuple(1e-4 * 1.05**i for i in range(274))
SERVER_ERROR: Final = 500
CLIENT_ERROR: Final = 400
THROTTLED: Final = 429


@dataclass(frozen=True, slots=True)
class Scale:
    """Σ(k²/n) over bins of one length: for the errors, and for "slower than" every edge at once."""

    bins: int
    error_squares: float
    squares: NDArray[np.float64]

    def plus(self, errors: int, counts: NDArray[np.int64]) -> Scale:
        n = int(counts.sum())
        if n == 0:
            return self
        slower = n - np.cumsum(counts[:-1])
        return Scale(self.bins + 1, self.error_squares + errors * errors / n, self.squares + slower * slower / n)


@dataclass(frozen=True, slots=True)
class Decade:
    """The ten seconds being counted (`at` times ten is where they begin), of closed seconds only."""

    at: int
    errors: int
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Totals:
    """All closed seconds of one lane; a new value replaces the old one, so readers need no lock."""

    n: int
    errors: int
    seconds: float
    counts: NDArray[np.int64]
    ones: Scale  # bins of one second
    tens: Scale  # closed bins of ten: errors that come in longer clumps show here
    decade: Decade

    @classmethod
    def zero(cls) -> Totals:
        none = np.zeros(len(EDGES) + 1, np.int64)
        scale = Scale(0, 0.0, np.zeros(len(EDGES), np.float64))
        return cls(0, 0, 0.0, none, scale, scale, Decade(0, 0, none))

    def plus(self, second: Second) -> Totals:
        """These totals and one more second."""
        errors, total = second.errors, second.seconds  # before the counts: a second still being written keeps k <= n
        counts = np.array(second.counts, np.int64)
        before = self.with_decades_before(second.at // 10)
        decade = before.decade
        return Totals(
            n=self.n + int(counts.sum()),
            errors=self.errors + errors,
            seconds=self.seconds + total,
            counts=self.counts + counts,
            ones=self.ones.plus(errors, counts),
            tens=before.tens,
            decade=Decade(decade.at, decade.errors + errors, decade.counts + counts),
        )

    def with_decades_before(self, at: int) -> Totals:
        """The same with the ten seconds being counted closed, when they lie before decade `at`."""
        if self.decade.at >= at:
            return self
        tens = self.tens.plus(self.decade.errors, self.decade.counts)
        return replace(self, tens=tens, decade=Decade(at, 0, np.zeros(len(EDGES) + 1, np.int64)))


class Second:
    """The second being counted: one list of latency buckets and the number of server errors."""

    __slots__ = ("at", "counts", "errors", "seconds")

    def __init__(self, at: int) -> None:
        self.at = at
        self.counts = [0] * (len(EDGES) + 1)
        self.errors = 0
        self.seconds = 0.0


class Lane:
    """Counts of one kind of traffic. One thread writes (`add`), any thread reads (`read`)."""

    __slots__ = ("_clock", "_state", "closed")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._state = (Totals.zero(), Second(0))
        self.closed: deque[Second] | None = None  # seconds that are over, for whoever takes them out (siblings/)

    def add(self, now: float, seconds: float, failed: bool) -> None:
        """One answer at monotonic `now` after `seconds`; 0.4 µs, and 30 µs for the first of a new second."""
        at = int(now + self._clock.offset)
        second = self._state[1]
        if second.at != at:
            second = self._next(at)
        second.counts[bisect_left(EDGES, seconds)] += 1
        second.seconds += seconds
        if failed:
            second.errors += 1

    def _next(self, at: int) -> Second:
        totals, second = self._state
        fresh = Second(at)
        self._state = (totals.plus(second), fresh)
        if self.closed is not None:
            self.closed.append(second)
        return fresh

    @property
    def open(self) -> Second:
        """The second that was counted last; it may be over."""
        return self._state[1]

    def read(self, until: int) -> Totals:
        """Totals of the seconds before `until`; the open second counts once it is over, also when nothing follows."""
        totals, second = self._state
        if second.at < until:
            totals = totals.plus(second)
        return totals.with_decades_before(until // 10)


def lane_document(totals: Totals) -> dict[str, Any]:
    """A lane as it stands in the evidence JSON."""
    ones, tens = totals.ones, totals.tens
    return {
        "n": totals.n,
        "bins": ones.bins,
        "bins10": tens.bins,
        "errors": {"k": totals.errors, "squares": ones.error_squares, "squares10": tens.error_squares},
        "latency": {
            "edges": EDGES,
            "counts": totals.counts.tolist(),
            "squares": ones.squares.tolist(),
            "squares10": tens.squares.tolist(),
        },
    }


class Spread:
    """A plain Prometheus histogram: coarse buckets, a sum, a count. One thread writes."""

    __slots__ = ("counts", "edges", "sum")

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.edges, value)] += 1
        self.sum += value


SECONDS: Final = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class Counters:
    """All counts of one server process; `answered` is the only call on the path of every request."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.instance = secrets.token_hex(8)
        self.clock = clock or Clock(monotonic(), time())
        self.lanes: dict[Kind, Lane] = {kind: Lane(self.clock) for kind in get_args(Kind)}
        self.divergence = DivergenceCounter(self.clock)
        self.codes: defaultdict[int, int] = defaultdict(int)
        self.queue_seconds = Spread(SECONDS)
        self.compute_seconds = Spread(SECONDS)
        self.batch_rows = Spread(SIZES)
        self.batch_requests = Spread(SIZES)
        self.throttled = 0
        self.client_errors = 0
        self.gone = 0

    def answered(self, kind: Kind, status: int, queue_s: float, compute_s: float, total_s: float) -> None:
        """One answer was made: 2xx and 5xx are evidence, the client's own errors and 429 are counted apart."""
        self.codes[status] += 1
        if status < CLIENT_ERROR:
            self.lanes[kind].add(monotonic(), total_s, False)
            waits, runs = self.queue_seconds, self.compute_seconds
            waits.counts[bisect_left(SECONDS, queue_s)] += 1  # written out: a call each costs 0.1 µs
            waits.sum += queue_s
            runs.counts[bisect_left(SECONDS, compute_s)] += 1
            runs.sum += compute_s
        elif status >= SERVER_ERROR:
            self.lanes[kind].add(monotonic(), total_s, True)
        elif status == THROTTLED:
            self.throttled += 1
        else:
            self.client_errors += 1

    def ran(self, rows: int, requests: int) -> None:
        """One run of the session carried `rows` rows of `requests` requests."""
        self.batch_rows.add(rows)
        self.batch_requests.add(requests)

    def left(self) -> None:
        """A client went away before its answer."""
        self.gone += 1

    def until(self, now: float | None = None) -> int:
        """The last whole second that is over."""
        return int((monotonic() if now is None else now) + self.clock.offset)

    def evidence(self, now: float | None = None) -> dict[str, Any]:
        """The counts of all whole seconds that are over; who serves and what waits is added by internal.py."""
        until = self.until(now)
        lanes: dict[str, Any] = {kind: lane_document(lane.read(until)) for kind, lane in self.lanes.items()}
        return {
            "apiVersion": EVIDENCE_VERSION,
            "instance": self.instance,
            "startTime": self.clock.start,
            "until": until,
            **lanes,
            "clientErrors": self.client_errors,
            "throttled": self.throttled,
            "divergence": self.divergence.read(until).document(),
        }
