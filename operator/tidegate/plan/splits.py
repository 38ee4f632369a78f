"""The split of the traffic that a situation shows, for convergence.py to judge.

Only where a route gives weights can requests contradict them.  A plain Service splits connections among pods: clients
that keep theirs stay where they are, and the share of the ready pods is all that can be known.  Scrapes of two servers
lie up to a scrape interval apart: what one of them has counted longer is no contradiction.

Right after a change counts tell of more than the gateway: they lag by a second or two, and a new server's are left out
until its warm-up is over.  Those of the last intervals say what the gateway does now, also when it did not before.  If
these brought none at all, a few of before are no reason to wait for requests that nobody sends.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tidegate.api.evidence import RECENT_INTERVALS, Evidence
from tidegate.plan.convergence import IGNORED_REQUESTS, Split, ignored, seen
from tidegate.plan.evidence import share_observed
from tidegate.plan.measuring import unread
from tidegate.plan.replicas import FULL
from tidegate.plan.situation import Situation

LAG = timedelta(seconds=10)


def split(s: Situation) -> Split:
    """Unpinned requests of both since the weight was asked for, or of the last intervals where these say more."""
    whole = _whole(s)
    return _of_late(s, whole) or whole


def _whole(s: Situation) -> Split:
    stable, candidate = share_observed(s.rollout.evidence) if s.rollout.evidence else (0, 0)
    asked_at = s.rollout.weight_asked_at
    return Split(s.rollout.weight_before, s.trial.weight, stable, candidate, s.elapsed(asked_at))


def _of_late(s: Situation, whole: Split) -> Split | None:
    """What the last intervals brought that lie wholly after the change; None where that is little, but not nothing."""
    evidence, asked_at = s.rollout.evidence, s.rollout.weight_asked_at
    if evidence is None or asked_at is None:
        return None
    over = (evidence.interval_started_at - asked_at - _troubled(s)) // s.spec.rollout.analysis.interval
    late = evidence.recent[-over:] if over > 0 else ()
    found = replace(
        whole,
        stable=sum(one.stable.requests for one in late),
        candidate=sum(one.candidate.requests for one in late),
    )
    # Intervals in which nobody looked are longer, and may have begun before the change.
    after = found.stable <= whole.stable and found.candidate <= whole.candidate
    ceased = over >= RECENT_INTERVALS and not found.requests and _silent(s, evidence)
    enough = found.requests >= IGNORED_REQUESTS or (ceased and not ignored(whole))
    return found if after and enough else None


def _silent(s: Situation, evidence: Evidence) -> bool:
    """Whether no request is in the interval that is under way either; counters that cannot be read do not say so."""
    return not (evidence.open.stable.requests or evidence.open.candidate.requests or unread(s))


def _troubled(s: Situation) -> timedelta:
    """How long after a change counts may tell of something else than the gateway."""
    return LAG + s.spec.rollout.analysis.warmup


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
    """Whether the requests do something else, though the route has had the weights for a while."""
    settled = _troubled(s) + s.spec.rollout.analysis.interval
    return in_effect(s) and _can_be_seen(s) and s.elapsed(s.rollout.weight_asked_at) >= settled and ignored(split(s))


def contradicted_all_along(s: Situation) -> bool:
    """Whether they do so now and on the whole: the first counts after a change may have looked right by their lag.

    A weight that was seen is not doubted for a burst that one server has counted and the other not yet.
    """
    return contradicted(s) and ignored(_whole(s))


def _can_be_seen(s: Situation) -> bool:
    """Whether counts can tell: a route gives weights, and all servers were read at one time."""
    return s.observed.exact_weights and s.spec.rollout.analysis.source == "Direct"
