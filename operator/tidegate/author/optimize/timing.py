"""How long models take beside each other on this machine: in turns, so that what slows the machine slows them all."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from tidegate.author.session import Runner, Tensors, batched, rows_of, take

FEWEST, MOST = 15, 400  # rounds
TURN = 0.002  # seconds that a turn should last, so that the clock counts for nothing
BATCHES = (1, 64)
Z = 1.959964


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds per run of so many rows: the median of the turns with its interval, and the parent's divided by it.

    `speedup` is the median over the rounds of parent / variant, both of the same round.
    """

    rows: int
    median: float
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
    while len(rounds) < FEWEST or (time.perf_counter() < ends and len(rounds) < MOST):
        turn = {int(at): _seconds(runners[at], request, counts[at]) for at in random.permutation(len(runners))}
        rounds.append([turn[at] for at in range(len(runners))])
    return [_latency(at, rounds, rows) for at in range(len(runners))]


def batch_sizes(runner: Runner, pool: Tensors) -> tuple[int, ...]:
    """One row, and a batch where the model takes batches and there are rows enough."""
    if not batched(runner.interface):
        return (1,)
    return tuple(size for size in BATCHES if size <= rows_of(pool))


def _request(runner: Runner, pool: Tensors, rows: int) -> Tensors:
    return take(pool, slice(0, rows)) if batched(runner.interface) else take(pool, 0)


def _runs_per_turn(runner: Runner, request: Tensors) -> int:
    runner.run(request)  # the first run plans its memory
    return max(1, math.ceil(TURN / _seconds(runner, request, 1)))


def _seconds(runner: Runner, request: Tensors, count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        runner.run(request)
    return (time.perf_counter() - began) / count


def _latency(at: int, rounds: list[list[float]], rows: int) -> Latency:
    seen = sorted(turns[at] for turns in rounds)
    reach = Z * math.sqrt(len(seen)) / 2  # ranks around the median that hold it in 95 % of all cases
    low, high = (
        seen[max(0, math.floor(len(seen) / 2 - reach))],
        seen[min(len(seen) - 1, math.ceil(len(seen) / 2 + reach))],
    )
    speedup = median(turns[0] / turns[at] for turns in rounds)
    return Latency(rows, median(seen) * 1e6, low * 1e6, high * 1e6, speedup)
