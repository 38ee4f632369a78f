"""The split of the traffic that a situation shows, for convergence.py to judge.

Only where a route gives weights can requests contradict them.  A plain Service splits connections among pods: clients
that keep theirs stay where they are, and the share of the ready pods is all that can be known.  Scrapes of two servers
lie up to a scrape interval apart: what one of them has counted longer is no contradiction.
"""

from __future__ import annotations

from datetime import timedelta

from tidegate.plan.convergence import Split, ignored, seen
from tidegate.plan.evidence import share_observed
from tidegate.plan.replicas import FULL
from tidegate.plan.situation import Situation

LAG = timedelta(seconds=10)


def split(s: Situation) -> Split:
    """Unpinned requests of both versions since the weight was asked for."""
    stable, candidate = share_observed(s.rollout.evidence) if s.rollout.evidence else (0, 0)
    return Split(s.rollout.weight_before, s.trial.weight, stable, candidate, s.elapsed(s.rollout.weight_asked_at))


def in_effect(s: Situation) -> bool:
    """Whether the route has taken the weights that were asked for."""
    route, asked = s.observed.route, s.trial.weight
    if not s.observed.exact_weights:  # it gets nothing, its servers' share, or everything
        some, all_ = s.routed(s.candidate), route.routed == {s.candidate}
        return route.accepted and (some, all_) == (asked > 0, asked == FULL)
    return route.accepted and route.weights.get(s.candidate, 0) == asked


def converged(s: Situation) -> bool:
    """Whether the requests follow the weights."""
    return in_effect(s) and (not _can_be_seen(s) or seen(split(s)))


def contradicted(s: Situation) -> bool:
    """Whether the requests do something else, though the route has had the weights for a while.

    Counters lag by a second or two: right after a step they tell of the weight before it.
    """
    settled = in_effect(s) and s.elapsed(s.rollout.weight_asked_at) >= LAG
    return settled and _can_be_seen(s) and ignored(split(s))


def _can_be_seen(s: Situation) -> bool:
    """Whether counts can tell: a route gives weights, and all servers were read at one time."""
    return s.observed.exact_weights and s.spec.rollout.analysis.source == "Direct"
