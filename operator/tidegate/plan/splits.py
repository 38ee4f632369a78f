"""The split of the traffic that a situation shows, for convergence.py to judge."""

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
    return in_effect(s) and seen(split(s))


def contradicted(s: Situation) -> bool:
    """Whether the requests do something else."""
    return ignored(split(s))
