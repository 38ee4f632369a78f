"""The whole measurement: one request alone, the peak in a closed loop, then rates in an open loop up to the knee.

What is measured stays in `Findings` as it comes, so that an interruption loses only the level under way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.bench.knee import Level, bracket, next_rate
from tidegate.bench.run import FEWEST, FULL, Step, Window, Work, closed_loop, decided, narrow, open_loop
from tidegate.bench.scaling import HEADROOM
from tidegate.errors import Failed

TIMES_ALONE = 10.0  # the limit where none is given: so many times what a request takes alone (median)
ALONE, PEAK = 1 / 20, 1 / 15  # of the duration
SHORT, LONG = 1 / 24, 1 / 12  # of the duration, for one level: there are about fifteen
WARM = 0.3  # seconds: connections are made, and the queue is as long as it will be
SHORTEST = 0.5
QUEUED = 1.0  # seconds of waiting that a closed loop may build up: an answer under way is waited for
LEAST_PARALLEL = 4
SLOWEST = 0.5  # of the peak: a rate that must have its fewest requests within one level
QUICKEST = 15.0  # seconds: below it there are too few levels for any model
TRY = "try one with tidegate predict"
LONGER = "give it a longer --duration"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Aim:
    """What is looked for: `limit` of the p99 and `duration` of it all in seconds, `most` requests a second."""

    limit: float | None
    duration: float
    most: float = math.inf


@dataclass(slots=True)
class Findings:
    """What was measured so far; `limit` in seconds.

    `too_short` is how long the measurement would have had to be, where it ended before a knee could be told.
    """

    limit: float = math.inf
    alone: Step | None = None
    peak: Step | None = None
    steps: list[Step] = field(default_factory=list)
    target: Step | None = None
    finished: bool = False
    too_short: float = 0.0

    @property
    def levels(self) -> list[Level]:
        return [Level(step.rate, step.holds(self.limit)) for step in self.steps]

    @property
    def knee(self) -> Step | None:
        """The highest level that holds, below the lowest that does not; None without a limit or enough time."""
        low, _ = bracket(self.levels)
        return self._at(low) if math.isfinite(self.limit) and not self.too_short else None

    @property
    def beyond(self) -> Step | None:
        """The lowest level that does not hold."""
        _, high = bracket(self.levels)
        return self._at(high)

    @property
    def rising(self) -> list[Step]:
        """One step for each rate, from the lowest to the highest: of several that which holds, else the last."""
        rates = sorted({step.rate for step in self.steps})
        return [step for rate in rates if (step := self._at(rate))]

    def _at(self, rate: float | None) -> Step | None:
        there = [step for step in self.steps if step.rate == rate]
        return next((step for step in there if step.holds(self.limit)), there[-1] if there else None)

    @property
    def holds(self) -> bool:
        """Whether the limit held: at any rate, or in the closed loop where nothing else was wanted."""
        if self.too_short:
            return False
        if self.steps or self.alone or self.peak is None:
            return any(step.holds(self.limit) for step in self.steps)
        return self.peak.holds(self.limit)

    @property
    def by_the_client(self) -> bool:
        """Whether the load generator, and not the server, was what could do no more."""
        return self.beyond is not None and self.beyond.by_the_client(self.limit)


async def sweep(work: Work, aim: Aim, found: Findings, tell: Tell) -> None:
    """Fill `found`; raises NotConnected, or Failed when the server answers nothing."""
    end = time.monotonic() + aim.duration
    tell("one request at a time")
    found.alone = alone = _mostly(_answered(await closed_loop(work, 1, aim.duration * ALONE)))
    found.limit = aim.limit or TIMES_ALONE * alone.p50
    parallel = min(work.connections, max(LEAST_PARALLEL, round(QUEUED / alone.p50)))
    tell(f"{parallel} requests at a time")
    found.peak = peak = _answered(await closed_loop(work, parallel, aim.duration * PEAK))
    longest = max(SHORTEST, aim.duration * LONG)
    while (
        rate := next_rate(found.levels, peak.answered, aim.most, FEWEST / longest)
    ) and time.monotonic() + longest < end:
        tell(f"{rate:,.1f} requests a second")
        window, looks = _window(rate, aim.duration * SHORT, longest), sum(step.rate == rate for step in found.steps)
        found.steps.append(await open_loop(work, rate, window, found.limit, decided(found.limit), looks=looks))
    found.too_short = _too_short(found, alone, peak, aim)
    if found.knee:
        tell(f"{HEADROOM:.0%} of the knee")
        found.target = await _target(work, HEADROOM * found.knee.rate, aim.duration, found.limit)
    found.finished = True


def _too_short(found: Findings, alone: Step, peak: Step, aim: Aim) -> float:
    """How long it must be where only time was lacking to tell a knee; else 0."""
    low, high = bracket(found.levels)
    if (low and high) or alone.p50 > found.limit or next_rate(found.levels, peak.answered, aim.most) is None:
        return 0.0
    slow = FEWEST / (LONG * SLOWEST * min(peak.answered, aim.most))
    enough = max(QUICKEST, 10.0 * math.ceil(round(slow / 10, 3)))
    return enough if enough > aim.duration else 2 * aim.duration


async def _target(work: Work, rate: float, duration: float, limit: float) -> Step:
    """The level to be held; where it fails, which below the knee is a neighbour's doing, what a second look shows."""
    window = _window(rate, duration * SHORT, max(SHORTEST, duration * LONG))
    step = await open_loop(work, rate, window, limit, narrow)
    return step if step.holds(limit) else await open_loop(work, rate, window, limit, narrow, looks=1)


async def at_rate(work: Work, rate: float, aim: Aim, found: Findings, tell: Tell) -> None:
    """One open level, until its p99 is known well or the time is over."""
    tell(f"{rate:,.1f} requests a second")
    found.limit = aim.limit or math.inf
    found.steps.append(_seen(await open_loop(work, rate, _window(rate, SHORTEST, aim.duration), found.limit, narrow)))
    found.finished = True


async def at_once(work: Work, aim: Aim, found: Findings, tell: Tell) -> None:
    """The closed loop alone, over all connections."""
    tell(f"{work.connections} requests at a time")
    found.limit = aim.limit or math.inf
    found.peak = _answered(await closed_loop(work, work.connections, aim.duration, limit=found.limit))
    found.finished = True


def _window(rate: float, shortest: float, longest: float) -> Window:
    return Window(WARM, min(longest, max(SHORTEST, shortest, FEWEST / rate)), longest)


def _seen(step: Step) -> Step:
    """Raise Failed when no request fell into the time."""
    if not step.requests:
        raise Failed(f"too short for this model: no request began and ended in {step.seconds:.2g} s", do=LONGER)
    return step


def _answered(step: Step) -> Step:
    """Raise Failed when nothing was answered well."""
    if not _seen(step).answered:
        raise Failed(f"none of {step.requests} requests was answered well: {_kinds(step)}", do=TRY)
    return step


def _mostly(step: Step) -> Step:
    """Raise Failed when not even half of the requests were answered well, with nothing in their way."""
    if not math.isfinite(step.p50):
        raise Failed(f"{step.failed} of {step.requests} requests, one at a time, failed: {_kinds(step)}", do=TRY)
    return step


def _kinds(step: Step) -> str:
    return ", ".join(str(status) if status else "no answer" for status in step.failures)


def full(step: Step) -> bool:
    """Whether the load generator had no more to give in a closed loop."""
    return step.busy > FULL
