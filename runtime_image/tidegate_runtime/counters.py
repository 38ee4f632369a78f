"""What this server counted, in the form the rollout's tests need: per second, because real errors come in clumps.

One `Lane` per kind of traffic (users', pinned by header, synthetic).  The thread that answers writes, other threads
read, and nobody waits: a lane publishes `(totals, open second)` as one value, so a reader always sees a consistent
pair and counters never go back.  Everything is cumulative since the process started; nothing can be reset.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from tidegate_runtime.interfaces import Kind

EVIDENCE_VERSION: Final = "tidegate.io/evidence/v1"
# 100 µs to 60 s, 5 % apart: any limit a user writes can be read off within 5 %.  plan/evidence.py has the same formula.
EDGES: Final[tuple[float, ...]] = tuple(1e-4 * 1.05**i for i in range(274))
SERVER_ERROR: Final = 500
CLIENT_ERROR: Final = 400
THROTTLED: Final = 429


class Clock:
    """Wall-clock seconds that never jump: the monotonic clock plus what the wall said when the process started."""

    __slots__ = ("offset", "start")

    def __init__(self, now: float, wall: float) -> None:
        self.offset = wall - now
        self.start = wall


@dataclass(frozen=True, slots=True)
class Totals:
    """All closed seconds of one lane; a new value replaces the old one, so readers need no lock."""

    n: int
    bins: int
    errors: int
    error_squares: float
    counts: NDArray[np.int64]
    squares: NDArray[np.float64]
    seconds: float

    @classmethod
    def zero(cls) -> Totals:
        size = len(EDGES)
        return cls(0, 0, 0, 0.0, np.zeros(size + 1, np.int64), np.zeros(size, np.float64), 0.0)

    def plus(self, second: Second) -> Totals:
        """These totals and one more second: Σ(k²/n) for the errors and for "slower than" every edge at once."""
        errors, total = second.errors, second.seconds  # before the counts: a second still being written keeps k <= n
        counts = np.array(second.counts, np.int64)
        n = int(counts.sum())
        if n == 0:
            return self
        slower = n - np.cumsum(counts[:-1])
        return Totals(
            n=self.n + n,
            bins=self.bins + 1,
            errors=self.errors + errors,
            error_squares=self.error_squares + errors * errors / n,
            counts=self.counts + counts,
            squares=self.squares + slower * slower / n,
            seconds=self.seconds + total,
        )


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

    __slots__ = ("_clock", "_state")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._state = (Totals.zero(), Second(0))

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
        return fresh

    def read(self, until: int) -> Totals:
        """Totals of the seconds before `until`; the open second counts once it is over, also when nothing follows."""
        totals, second = self._state
        return totals.plus(second) if second.at < until else totals


def lane_document(totals: Totals) -> dict[str, Any]:
    """A lane as it stands in the evidence JSON."""
    return {
        "n": totals.n,
        "bins": totals.bins,
        "errors": {"k": totals.errors, "squares": totals.error_squares},
        "latency": {"edges": EDGES, "counts": totals.counts.tolist(), "squares": totals.squares.tolist()},
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


@dataclass(slots=True)
class Divergence:
    """Answers that were compared with the stable version's, by second; written by the comparing thread alone."""

    n: int = 0
    bins: int = 0
    top1: tuple[int, float] = (0, 0.0)
    outputs: dict[str, tuple[int, float, float]] = field(default_factory=dict)
    dropped: int = 0

    def document(self) -> dict[str, Any]:
        k, squares = self.top1
        outputs = {name: {"k": o[0], "squares": o[1], "worst": o[2]} for name, o in self.outputs.items()}
        return {
            "n": self.n,
            "bins": self.bins,
            "top1": {"k": k, "squares": squares},
            "outputs": outputs,
            "dropped": self.dropped,
        }


class DivergenceCounter:
    """Adds comparisons second by second; like a lane, it publishes closed seconds as one value."""

    __slots__ = ("_clock", "_state", "dropped")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._state: tuple[Divergence, _DivergenceSecond] = (Divergence(), _DivergenceSecond(0))
        self.dropped = 0

    def add(self, now: float, top1_differs: bool, outputs: dict[str, tuple[bool, float]]) -> None:
        """One comparison: did the first class differ, and per output whether it is beyond tolerance and how far off."""
        at = int(now + self._clock.offset)
        totals, second = self._state
        if second.at != at:
            totals, second = second.added_to(totals), _DivergenceSecond(at)
            self._state = (totals, second)
        second.n += 1
        second.top1 += top1_differs
        for name, (differs, worst) in outputs.items():
            k, before = second.outputs.get(name, (0, 0.0))
            second.outputs[name] = (k + differs, max(before, worst))

    def read(self, until: int) -> Divergence:
        totals, second = self._state
        result = second.added_to(totals) if second.at < until else totals
        return Divergence(result.n, result.bins, result.top1, result.outputs, self.dropped)


class _DivergenceSecond:
    __slots__ = ("at", "n", "outputs", "top1")

    def __init__(self, at: int) -> None:
        self.at = at
        self.n = 0
        self.top1 = 0
        self.outputs: dict[str, tuple[int, float]] = {}

    def added_to(self, totals: Divergence) -> Divergence:
        seen, top1_differs = list(self.outputs.items()), self.top1
        n = self.n  # read last: a second still being written keeps k <= n
        if n == 0:
            return totals
        outputs = dict(totals.outputs)
        for name, (k, worst) in seen:
            k0, squares, worst0 = outputs.get(name, (0, 0.0, 0.0))
            outputs[name] = (k0 + k, squares + k * k / n, max(worst0, worst))
        top1 = (totals.top1[0] + top1_differs, totals.top1[1] + top1_differs**2 / n)
        return Divergence(totals.n + n, totals.bins + 1, top1, outputs)


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
