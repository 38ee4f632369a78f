"""What one level of load showed: latencies since the intended time, failures, and how sure one can be of the p99.

Requests that follow each other share their queue, so a hundred slow ones may be one event.  Everything said about
certainty counts them in batches of time: `effective_size` is how many independent requests would tell as much.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

QUANTILE = 0.99
ALLOWED = 1 - QUANTILE  # the share of requests that may be slower than the limit
SURE = 1.96  # standard deviations: 95 %
BATCHES = 20
GLIMPSE = 20_000
OK = 200
CUT_OFF = 0  # in place of a status: no answer came

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Verdict(StrEnum):
    """Whether the p99 is within a limit."""

    HOLDS = "holds"
    EXCEEDS = "exceeds"
    UNDECIDED = "undecided"  # so far, or for good


class Record:
    """Fills while the load runs; times in seconds, by the clock of whoever sends.

    Requests that were meant to be sent before `since` are warm-up and leave no trace.  One that failed has an infinite
    latency: whoever waits for it waits in vain.
    """

    def __init__(self, since: float = -math.inf) -> None:
        self.since = since
        self.failures: Counter[int] = Counter()  # by HTTP status, CUT_OFF where there was none
        self._intended = array("d")
        self._latencies = array("d")
        self._lags = array("d")
        self._unsent = array("d")  # the latencies, so far, of those that were never sent

    def __len__(self) -> int:
        return len(self._latencies)

    def answered(self, intended: float, now: float, status: int) -> None:
        """A request has its answer, or never will."""
        if intended < self.since:
            return
        self._intended.append(intended)
        if status == OK:
            self._latencies.append(now - intended)
        else:
            self._latencies.append(math.inf)
            self.failures[status] += 1

    def unsent(self, intended: float, now: float) -> None:
        """A request that waited for a connection when the load ended: it took at least until now."""
        if intended < self.since:
            return
        self.answered(intended, now, OK)
        self._unsent.append(now - intended)

    def sent(self, intended: float, now: float) -> None:
        """A request that had nothing to wait for is sent: the load generator itself was so late with it."""
        if intended >= self.since:
            self._lags.append(now - intended)

    def glimpse(self) -> Record:
        """An even selection that is looked at within a millisecond: meanwhile no answer is taken in."""
        some, every = Record(), 1 + len(self) // GLIMPSE
        some._intended, some._latencies = self._intended[::every], self._latencies[::every]
        return some

    @property
    def latencies(self) -> Floats:
        return np.array(self._latencies)

    @property
    def answers(self) -> tuple[int, float]:
        """How many requests were answered well, and the mean of their latencies."""
        latencies = self.latencies
        good = latencies[np.isfinite(latencies)]
        count = len(good) - len(self._unsent)
        return count, float(good.sum() - sum(self._unsent)) / count if count else 0.0

    @property
    def lag(self) -> float:
        """The p99 of how late the load generator was."""
        return quantile(np.sort(np.array(self._lags)), QUANTILE)

    def verdict(self, limit: float) -> Verdict:
        """Whether the p99 is within `limit`, as far as one can be sure of it; within none what failed is late."""
        latencies = self.latencies
        low, high = share_interval((latencies > limit) | np.isinf(latencies), np.array(self._intended))
        if high <= ALLOWED:
            return Verdict.HOLDS
        return Verdict.EXCEEDS if low > ALLOWED else Verdict.UNDECIDED

    def p99_interval(self) -> tuple[float, float]:
        """Where the p99 is; infinite where the requests are too few to tell."""
        latencies = self.latencies
        size = effective_size(latencies > quantile(np.sort(latencies), QUANTILE), np.array(self._intended))
        return quantile_interval(np.sort(latencies), QUANTILE, size)


def quantile(ordered: Floats, q: float) -> float:
    """The value that a share `q` of the ordered ones lies below; 0 where there are none."""
    return float(ordered[min(len(ordered) - 1, int(q * len(ordered)))]) if len(ordered) else 0.0


def quantile_interval(ordered: Floats, q: float, size: float) -> tuple[float, float]:
    """The order statistics between which the quantile lies, for so many independent values."""
    if size < 1:
        return 0.0, math.inf
    room = SURE * math.sqrt(q * (1 - q) / size)
    low = quantile(ordered, max(0.0, q - room))
    return low, quantile(ordered, q + room) if q + room < 1 else math.inf


def share_interval(hit: Bools, when: Floats) -> tuple[float, float]:
    """Between which shares the share of hits lies (Wilson)."""
    size = effective_size(hit, when)
    if size < 1:
        return 0.0, 1.0
    share, extra = float(hit.mean()), SURE**2 / size
    middle = (share + extra / 2) / (1 + extra)
    room = math.sqrt(extra * share * (1 - share) + extra**2 / 4) / (1 + extra)
    return max(0.0, middle - room), min(1.0, middle + room)


def effective_size(hit: Bools, when: Floats) -> float:
    """How many independent requests tell as much as these, whose hits come in clumps."""
    count = len(hit)
    share = float(hit.mean()) if count else 0.0
    if not 0 < share < 1:
        return count
    start, span = when.min(), max(np.ptp(when), 1e-9)
    batch: npt.NDArray[Any] = np.minimum((when - start) / span * BATCHES, BATCHES - 1).astype(int)
    requests = np.bincount(batch, minlength=BATCHES)
    hits = np.bincount(batch, weights=hit, minlength=BATCHES)
    variance = float(((hits - share * requests) ** 2).sum()) * BATCHES / (BATCHES - 1)
    return count / max(1.0, variance / (count * share * (1 - share)))
