"""What the status shows of servers, weights and the deployment as a whole, as they were seen just now."""

from __future__ import annotations

from tidegate.api.status import RevisionStatus
from tidegate.plan.conditions import rejection
from tidegate.plan.evidence import share_observed
from tidegate.plan.phases import Settled
from tidegate.plan.replicas import FULL
from tidegate.plan.resolving import numbers
from tidegate.plan.situation import Situation


def describe(s: Situation) -> Situation:
    """The situation with figures of every version, a phase in one word and the address."""
    rollout = s.status.rollout
    if rollout is not None and rollout.previous is not None:
        s = s.in_rollout(previous=_seen(s, rollout.previous, None))
    share = _candidate_share(s)
    stable, candidate = s.status.stable, s.status.candidate
    return s.remember(
        observed_generation=s.observed.generation,
        phase=_phase(s),
        stable=_seen(s, stable.model_copy(update={"weight": FULL - s.trial.weight}), _rest(share)) if stable else None,
        candidate=_seen(s, candidate, share) if candidate else None,
        url=s.observed.route.url[:320],
        last_number=max((s.status.last_number, *numbers(s).values())),
    )


def _seen(s: Situation, version: RevisionStatus, share: float | None) -> RevisionStatus:
    servers = s.servers(version.revision)
    return version.model_copy(
        update={
            "replicas": servers.replicas,
            "ready_replicas": servers.ready,
            "device": servers.device[:32] or version.device,
            "realised_weight": share,
        }
    )


def _rest(share: float | None) -> float | None:
    return None if share is None else round(FULL - share, 1)


def _candidate_share(s: Situation) -> float | None:
    """Percent of the requests that the candidate got since its weight changed; of the pods where those split them."""
    if s.status.candidate is None or s.rollout.evidence is None:
        return None
    if not s.observed.exact_weights:
        return _candidate_servers(s)
    stable, candidate = share_observed(s.rollout.evidence)
    return round(100 * candidate / (stable + candidate), 1) if stable + candidate else None


def _candidate_servers(s: Situation) -> float:
    new, old = s.servers(s.candidate).ready, s.servers(s.stable).ready
    return round(100 * new / (new + old), 1) if new and s.routed(s.candidate) else 0.0


def _phase(s: Situation) -> str:
    if s.rollout.phase:
        return s.rollout.phase
    if s.status.stable is not None:
        return Settled.SERVING.value
    return (Settled.REFUSED if rejection(s) else Settled.RESOLVING).value
