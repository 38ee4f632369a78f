"""How long models take beside each other on this machine: in turns, so that what slows the machine slows them all."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidegate.author.session import Runner, Tensors, rows_of, take

FEWEST = 15  # rounds
FAST = 0.1  # of the turns
TURN = 0.002  # seconds that a turn should last, so that the clock counts for nothing
BATCHES = (1, 64)
Z = 1.959964


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds per run of so many rows, undisturbed: the tenth percentile of the turns, with its interval.

    What else runs on the machine only ever adds to a turn, so the fast turns tell what the model itself takes.
    `speedup` is the parent's latency divided by this one.
    """

    rows: int
    us: float
    low: float
    high: float
    speedup: float


def latencies(runners: Sequence[Runner], pool: Tensors, rows: int, seconds: float) -> list[Latency]:
    """The first runner is the parent; every round gives each of them one turn, in an order that changes.

    About `seconds` per runner, and at least as many rounds as an interval needs.
    """
    request = _request(runners[0], pool, rows)
    counts = [_runs_per_turn(runner, request) for runner in runners]
    random = np.random.default_rng(0)
    rounds: list[list[float]] = []
    ends = time.perf_counter() + seconds * len(runners)
    while len(rounds) < FEWEST or time.perf_counter() < ends:
        turn = {int(at): _seconds(runners[at], request, counts[at]) for at in random.permutation(len(runners))}
        rounds.append([turn[at] for at in range(len(runners))])
    seen = [sorted(turns[at] for turns in rounds) for at in range(len(runners))]
    fast = [_rank(turns, 0) for turns in seen]
    return [
        Latency(rows, fast[at] * 1e6, _rank(seen[at], -Z) * 1e6, _rank(seen[at], Z) * 1e6, fast[0] / fast[at])
        for at in range(len(runners))
    ]


def batch_sizes(runner: Runner, pool: Tensors) -> tuple[int, ...]:
    """One row, and a batch where the model takes batches and there are rows enough."""
    if not runner.interface.batched:
        return (1,)
    return tuple(size for size in BATCHES if size <= rows_of(pool))


def _request(runner: Runner, pool: Tensors, rows: int) -> Tensors:
    return take(pool, slice(0, rows)) if runner.interface.batched else take(pool, 0)


def _runs_per_turn(runner: Runner, request: Tensors) -> int:
    runner.run(request)  # the first run plans its memory
    return max(1, math.ceil(TURN / _seconds(runner, request, 1)))


def _seconds(runner: Runner, request: Tensors, count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        runner.run(request)
    return (time.perf_counter() - began) / count


def _rank(turns: Sequence[float], deviations: float) -> float:
    """The fast turn, and those so many standard deviations of its rank away: an interval without any distribution."""
    count = len(turns)
    rank = count * FAST + deviations * math.sqrt(count * FAST * (1 - FAST))
    return turns[min(count - 1, max(0, round(rank)))]
