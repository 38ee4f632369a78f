"""Simulated servers for `benchmarks.decisions`: requests by the second, bad events in bursts, and their counters.

Only the world is made here; what follows from its counters is decided by the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from tidegate.plan.samples import Clumps, Compared, PodSample, Traffic

BEFORE = 600  # seconds in which the stable version was watched alone
SECONDS = 600
INTERVAL = 10
START = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = Compared(0, 0, 0, Clumps(), {}, 0)

Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class World:
    """What happens in one scenario, second by second, from `BEFORE` seconds before the first step on."""

    stable_rps: Series
    candidate_rps: Series
    stable_bad: Series  # true share of bad events
    candidate_bad: Series
    burst: int = 1  # bad events come in bursts of so many
    spread: int = 1  # within so many seconds


def series(value: float, *changes: tuple[int, int, float]) -> Series:
    """A constant, with other values from second to second; second 0 is the first step."""
    found = np.full(BEFORE + SECONDS, value)
    for start, end, other in changes:
        found[BEFORE + start : BEFORE + end] = other
    return found


@dataclass(frozen=True, slots=True)
class Counters:
    """Cumulative counters of one version at each second."""

    n: NDArray[np.int64]
    bins: NDArray[np.int64]
    bad: NDArray[np.int64]
    squares: Series
    bins10: NDArray[np.int64]
    squares10: Series

    def sample(self, name: str, second: int) -> PodSample:
        """What the version's server says at `second` after the first step."""
        at, block = BEFORE + second, (BEFORE + second) // INTERVAL
        errors = Clumps(int(self.bad[at]), float(self.squares[at]), float(self.squares10[block]))
        requests = Traffic(int(self.n[at]), int(self.bins[at]), int(self.bins10[block]), errors)
        start = (START - timedelta(seconds=BEFORE)).timestamp()
        until = (START + timedelta(seconds=second)).timestamp()
        return PodSample(name, name, start, until, requests, Traffic(), Traffic(), NOTHING, 0, 0, 0, 0)


def _total(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])


def _squares(bad: NDArray[np.int64], n: NDArray[np.int64]) -> Series:
    by_bin = np.divide(bad * bad, n, out=np.zeros(len(n)), where=n > 0)
    return np.concatenate([np.zeros(1), np.cumsum(by_bin)])


def counters(rng: np.random.Generator, rps: Series, share: Series, world: World) -> Counters:
    """One version's counters: good requests by Poisson, bad ones in bursts that begin by Poisson."""
    begun = rng.poisson(rps * share / world.burst)
    bad = np.zeros(len(rps), np.int64)
    if world.spread == 1:
        bad += begun * world.burst
    else:
        starts = np.repeat(np.arange(len(rps)), begun * world.burst)
        seconds = starts + rng.integers(0, world.spread, len(starts))
        np.add.at(bad, seconds[seconds < len(rps)], 1)
    n = rng.poisson(rps * (1 - share)) + bad
    n10, bad10 = (v.reshape(-1, INTERVAL).sum(axis=1) for v in (n, bad))
    return Counters(
        _total(n),
        _total((n > 0).astype(np.int64)),
        _total(bad),
        _squares(bad, n),
        _total((n10 > 0).astype(np.int64)),
        _squares(bad10, n10),
    )


def both(rng: np.random.Generator, world: World) -> tuple[Counters, Counters]:
    """Counters of the stable version and of the candidate, which does not exist before the first step."""
    late = np.where(np.arange(BEFORE + SECONDS) < BEFORE, 0.0, world.candidate_rps)
    stable = np.where(np.arange(BEFORE + SECONDS) < BEFORE, world.stable_rps + world.candidate_rps, world.stable_rps)
    return counters(rng, stable, world.stable_bad, world), counters(rng, late, world.candidate_bad, world)
