"""The split of the traffic that a situation shows, for convergence.py to judge.

Only where a route gives weights can requests contradict them.  A plain Service splits connections among pods: clients
that keep theirs stay where they are, and the share of the ready pods is all that can be known.
"""

from __future__ import annotations

from tidegate.plan.convergence import Split, ignored, seen
from tidegate.plan.evidence import share_observed
from tidegate.plan.situation import Situation


def split(s: Situation) -> Split:
    """Unpinned requests of both versions since the weight was asked for."""
    stable, candidate = share_observed(s.rollout.evidence) if s.rollout.evidence else (0, 0)
    return Split(s.rollout.weight_before, s.trial.weight, stable, candidate, s.elapsed(s.rollout.weight_asked_at))


def in_effect(s: Situation) -> bool:
    """Whether the route has taken the weights that were asked for."""
    return s.observed.route.accepted and s.routed(s.candidate) == s.trial.weight


def converged(s: Situation) -> bool:
    """Whether the requests follow the weights."""
    return in_effect(s) and (not s.observed.exact_weights or seen(split(s)))


def contradicted(s: Situation) -> bool:
    """Whether the requests do something else."""
    return s.observed.exact_weights and ignored(split(s))
