"""Which level of load is looked at next, and where the knee is: decided from the levels seen, without any I/O.

From a tenth of what the server can do upwards until a level no longer holds the limit, then halfway between the highest
that holds and the lowest that does not, until those two are close.  A level must fail twice before that counts: a
neighbour on the same machine can spoil a few seconds, but nothing makes a server look better than it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CLIMB = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0)  # of the peak
BEYOND = 1.2  # times the last one, where even the peak holds
BELOW = 0.5  # times the last one, where even the lowest does not
LEAST = 0.001  # of the peak: below it no level is looked at
ENOUGH = 2  # failures of a level
CLOSE = 1.04  # between what holds and what does not: nearer than that says chance


@dataclass(frozen=True, slots=True)
class Level:
    """A rate in requests per second, and whether the limit held there."""

    rate: float
    holds: bool


def next_rate(seen: Sequence[Level], peak: float, most: float, least: float = 0.0) -> float | None:
    """The rate to look at next; None when the knee is known, or cannot be.

    `peak` is about what the server can do, `most` what it may be asked at most; below `least` no level is looked at.
    """
    if seen and _fails(seen, seen[-1].rate) == 1 and not seen[-1].holds:
        return seen[-1].rate
    low, high = bracket(seen)
    if high is not None:
        return _between(low, high, max(least, LEAST * peak))
    climb = (share * peak for share in CLIMB if share * peak >= least)
    rate = min(next((one for one in climb if one > low * CLOSE), low * BEYOND), most)
    return rate if rate > low * CLOSE and rate >= least else None


def _between(low: float, high: float, least: float) -> float | None:
    if not low:
        return high * BELOW if high * BELOW >= least else None
    return (low + high) / 2 if high > low * CLOSE else None


def bracket(seen: Sequence[Level]) -> tuple[float, float | None]:
    """The highest rate that holds (0: none) below the lowest that failed twice (None: none did)."""
    high = min((level.rate for level in seen if _fails(seen, level.rate) >= ENOUGH), default=None)
    low = max((level.rate for level in seen if level.holds and (high is None or level.rate < high)), default=0.0)
    return low, high


def _fails(seen: Sequence[Level], rate: float) -> int:
    return sum(not level.holds for level in seen if level.rate == rate)
