"""Whether a new split is really in effect: seen in the versions' own request counters, not believed.

Dwell time starts only then.  A split is seen when the counts since the change speak for the new share, against the old
one by 20 to 1 and against halves, which is what a gateway gives that heeds no weights, by 1000 to 1; or when they have
had 30 s and do not contradict it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import exp, log

SEEN = log(20)
UNCONTRADICTED = timedelta(seconds=30)
CONTRADICTED = 1e-3
IGNORED = 1e-4
HALF, NO_HALVES = 50, log(1000)
IGNORED_REQUESTS = 200
_EDGE = 1e-3  # 0 and 100 % are never quite true: requests of before the change are still under way


@dataclass(frozen=True, slots=True)
class Split:
    """Requests of both versions since the weight changed from `before` to `asked` percent."""

    before: int
    asked: int
    stable: int
    candidate: int
    since: timedelta

    @property
    def requests(self) -> int:
        return self.stable + self.candidate


def seen(split: Split) -> bool:
    """Whether the dwell time of the new share may start."""
    doubtful = doubt(split) < CONTRADICTED
    halves = split.asked != HALF and likelihood_ratio(split, HALF) < NO_HALVES
    if likelihood_ratio(split, split.before) >= SEEN and not halves:
        # Less than its share may be that of servers that are not counted before their warm-up is over; more is not.
        return not (doubtful and split.candidate > split.requests * _share(split.asked))
    return split.since >= UNCONTRADICTED and not doubtful


def ignored(split: Split) -> bool:
    """Whether the route does something else than it was asked to."""
    return split.requests >= IGNORED_REQUESTS and doubt(split) < IGNORED


def likelihood_ratio(split: Split, other: int) -> float:
    """Log of how much better the new share explains the counts than another one, in percent."""
    new, old = _share(split.asked), _share(other)
    return split.candidate * log(new / old) + split.stable * log((1 - new) / (1 - old))


def doubt(split: Split) -> float:
    """A bound on the chance of counts at least this far from the asked share (Chernoff, both sides)."""
    if not split.requests:
        return 1.0
    seen_share, asked = split.candidate / split.requests, _share(split.asked)
    return min(1.0, 2 * exp(-split.requests * _divergence(seen_share, asked)))


def _divergence(seen_share: float, asked: float) -> float:
    """Kullback-Leibler divergence of two coins; a side that never came up adds nothing."""
    sides = ((seen_share, asked), (1 - seen_share, 1 - asked))
    return sum(found * log(found / expected) for found, expected in sides if found > 0)


def _share(weight: int) -> float:
    return min(max(weight / 100, _EDGE), 1 - _EDGE)
