"""One level of load on a server: warm up, measure, and what came of it as a `Step`."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tidegate.bench.connection import Endpoint, Pool
from tidegate.bench.loops import ClosedLoop, OpenLoop, arrivals
from tidegate.bench.record import Record, Verdict, quantile

SOON = 0.0001  # seconds: less than a timer's own way takes
LOOK_SECONDS = 0.25
LATE = 0.25  # of the limit: a load generator that is so late measures itself
FULL = 0.9  # of a core
NARROW = 0.1
FEWEST = 20  # requests that any level has


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked, and of whom.

    `patience` is how long the last answers are waited for, in seconds; `server_seconds` tells the CPU time that the
    server has used, where that can be known.
    """

    endpoint: Endpoint
    requests: Sequence[bytes]
    connections: int
    patience: float = 30.0
    server_seconds: Callable[[], float] = lambda: 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """Seconds: unrecorded ones first, then at least and at most so many."""

    warm: float
    shortest: float
    longest: float


@dataclass(frozen=True, slots=True)
class Step:
    """One level of load.  Times in seconds, from the intended moment of sending; infinite: it never came.

    `rate` is what was asked for a second, 0 in a closed loop; `answered` is what was answered well a second, and `mean`
    of these; the quantiles are of all, also of those that were never sent because all connections were busy.
    `lag` is how late the load generator was itself (p99), `busy` the share of a core that it used; `server_cores` is
    how many cores the server kept busy, 0 where that is not known.
    """

    rate: float
    connections: int
    seconds: float
    requests: int
    failures: Mapping[int, int]  # by HTTP status; 0: no answer
    answered: float
    mean: float
    p50: float
    p90: float
    p99: float
    p99_interval: tuple[float, float]
    lag: float
    busy: float
    server_cores: float = 0.0
    verdict: Verdict = Verdict.UNDECIDED

    @property
    def in_flight(self) -> float:
        """Requests in work at once, by Little's law."""
        return self.answered * self.mean

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    def holds(self, limit: float) -> bool:
        """Whether the p99 is within the limit: surely, or else by what was seen."""
        if self.verdict is Verdict.UNDECIDED:
            return math.isfinite(self.p99) and self.p99 <= limit
        return self.verdict is Verdict.HOLDS

    def by_the_client(self, limit: float) -> bool:
        """Whether the load generator itself was so late that a p99 above the limit says nothing of the server."""
        return self.lag > LATE * limit


Enough = Callable[[Record], bool]


def decided(limit: float) -> Enough:
    """Whether the p99 is surely on one side of the limit."""
    return lambda record: record.verdict(limit) is not Verdict.UNDECIDED


def narrow(record: Record) -> bool:
    """Whether it is known well where the p99 is."""
    low, high = record.p99_interval()
    return high < math.inf and high - low <= NARROW * high


async def closed_loop(work: Work, connections: int, seconds: float, *, limit: float = math.inf) -> Step:
    """Every connection asks again as soon as it has its answer; raises NotConnected."""
    record, pool = Record(), Pool(work.endpoint)
    loop = ClosedLoop(work.requests, record, time.perf_counter)
    try:
        await pool.open(connections)
        watch = _Watch(work, record, Window(seconds / 5, seconds, 2 * seconds))
        pool.begin(loop)
        measured = await watch.until(lambda record: len(record) >= FEWEST)
        loop.end()
        await pool.settle(work.patience)
    finally:
        pool.close()
    return step_of(record, measured, limit, rate=0.0, connections=connections)


async def open_loop(work: Work, rate: float, window: Window, limit: float, enough: Enough, *, looks: int = 0) -> Step:
    """`rate` requests a second, whatever the answers do; ends early when `enough`; raises NotConnected.

    `looks` is how often this rate was looked at before: each look has arrivals of its own.
    """
    record, pool = Record(), Pool(work.endpoint)
    try:
        await pool.open(work.connections)
        start, seed = time.perf_counter(), round(rate * 1000) + looks
        loop = OpenLoop(work.requests, record, time.perf_counter, arrivals(rate, start, seed))
        watch = _Watch(work, record, window)
        pool.begin(loop)
        with _paced(loop):
            measured = await watch.until(enough)
        loop.end()
        await pool.settle(work.patience)
    finally:
        pool.close()
    return step_of(record, measured, limit, rate=rate, connections=work.connections)


@contextlib.contextmanager
def _paced(loop: OpenLoop) -> Iterator[None]:
    """Have the loop send what is due, some 0.1 ms late at most where the core is free; on the main thread only.

    By the process's own timer: those of an event loop count in milliseconds, and whoever never sleeps, to be in time,
    is let wait by the scheduler as soon as anybody else wants the core.
    """
    events = asyncio.get_running_loop()

    def tick() -> None:
        wait = loop.send_due() - time.perf_counter()
        if wait < SOON:
            events.call_soon(due)
        else:
            signal.setitimer(signal.ITIMER_REAL, wait)

    def due() -> None:
        if going:
            tick()

    going = True
    events.add_signal_handler(signal.SIGALRM, due)
    tick()
    try:
        yield
    finally:
        going = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        events.remove_signal_handler(signal.SIGALRM)


@dataclass(frozen=True, slots=True)
class Measured:
    """How long a level was looked at, and what the load generator and the server used meanwhile, in cores."""

    seconds: float
    busy: float
    server_cores: float


class _Watch:
    """Looks at a record until the window is over, or a glimpse of it is enough."""

    def __init__(self, work: Work, record: Record, window: Window) -> None:
        self._work = work
        self._record = record
        self._window = window
        record.since = time.perf_counter() + window.warm

    async def until(self, enough: Enough) -> Measured:
        await asyncio.sleep(self._window.warm)
        began, used, server = time.perf_counter(), time.process_time(), self._work.server_seconds()
        await asyncio.sleep(self._window.shortest)
        while time.perf_counter() - began < self._window.longest and not enough(self._record.glimpse()):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
        seconds = time.perf_counter() - began
        server_cores = (self._work.server_seconds() - server) / seconds
        return Measured(seconds, (time.process_time() - used) / seconds, server_cores)


def step_of(record: Record, measured: Measured, limit: float, *, rate: float, connections: int) -> Step:
    ordered = np.sort(record.latencies)
    answered, mean = record.answers
    return Step(
        rate=rate,
        connections=connections,
        seconds=measured.seconds,
        requests=len(record),
        failures=dict(record.failures),
        answered=answered / measured.seconds,
        mean=mean,
        p50=quantile(ordered, 0.5),
        p90=quantile(ordered, 0.9),
        p99=quantile(ordered, 0.99),
        p99_interval=record.p99_interval(),
        lag=record.lag,
        busy=measured.busy,
        server_cores=measured.server_cores,
        verdict=record.verdict(limit),
    )
