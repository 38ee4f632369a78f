"""The moves of a rollout: each is one arrow of the table in rollout.py, and says in an event that it was made."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tidegate.api.status import RevisionStatus, RolloutStatus
from tidegate.plan import room
from tidegate.plan.acceptance import Applicant, refusal
from tidegate.plan.evidence import watch
from tidegate.plan.history import PROMOTED, REFUSED, ROLLED_BACK, noted
from tidegate.plan.memory import LONGEST_LOOK, described
from tidegate.plan.observed import Failure
from tidegate.plan.phases import Phase, Surge
from tidegate.plan.rejected import forgive, reject
from tidegate.plan.replicas import FULL, MOST_SHARED
from tidegate.plan.situation import Situation, Wish
from tidegate.plan.texts import code, sentence

NO_HOLD = {"hold_reason": "", "hold_message": ""}


def start(s: Situation, wish: Wish) -> Situation:
    """Serving -> Proving, unless the bundle's manifest or the room for servers forbids it."""
    version = described(wish.record)
    if failure := refused(s, wish) or room.refused(s, wish):
        s = noted(reject(s, version.revision, failure), version, REFUSED, failure.reason)
        return s.tell(failure.reason, failure.message, version.revision, warning=True)
    live = max(s.servers(s.stable).replicas, s.spec.scaling.min_replicas, 1)
    surge = room.at_start(s, wish)
    rollout = RolloutStatus(
        cause=wish.cause, phase=Phase.PROVING.value, surge=surge.value, live=live, idle=s.asleep, began_at=s.now
    )
    s = replace(s.remember(candidate=version, rollout=rollout), judgement=None)
    s = room.proved_first(s, "rollout.surge is Replace") if surge is Surge.PROVE else s
    s = s.tell("RolloutStarted", f"{wish.cause}: version {version.version} starts", version.revision)
    return _tell_of_weights(s)


def _tell_of_weights(s: Situation) -> Situation:
    """What becomes of steps whose weight so few servers cannot make."""
    steps, capacity = [step.weight for step in s.steps], s.capacity
    for weights, instead in (
        (capacity.unreachable(steps), "skipped"),
        (capacity.lowered(steps), f"{MOST_SHARED} % instead, for as long"),
    ):
        if weights:
            named = ", ".join(f"{weight} %" for weight in weights)
            s = s.tell("WeightNotReachable", f"{capacity.live} servers cannot make {named}: {instead}", s.candidate)
    return s


def refused(s: Situation, wish: Wish) -> Failure | None:
    """What the spec's acceptance rules say; a version that has served already is not asked again."""
    if wish.cause != "Spec":
        return None
    stable = s.record_of(s.status.stable).resolution if s.status.stable else None
    return refusal(Applicant(s.spec, wish.record.resolution, stable))


def grant(s: Situation, weight: int) -> Situation:
    """Proving or Holding -> Shifting: the next weight."""
    s = s.in_rollout(weight=weight, phase=Phase.SHIFTING.value, step_started_at=None, waiting_since=None, **NO_HOLD)
    s = s.in_rollout(step=s.step_number)
    # Of a first version that is no news; and its status is written a moment later (writing.py), which an event about it
    # must not come before.
    if s.first:
        return s
    return s.tell("WeightRaised", f"{weight} % of the requests to the new version", s.candidate)


def ask_weight(s: Situation, weight: int) -> Situation:
    """Any -> Shifting: what the route is to give the candidate now."""
    candidate = s.trial
    if candidate.weight == weight:
        return s
    lower = s.rollout.weight > weight
    before = candidate.weight
    s = s.remember(candidate=candidate.model_copy(update={"weight": weight}))
    s = s.in_rollout(phase=Phase.SHIFTING.value, weight_before=before, weight_asked_at=s.now, step_started_at=None)
    return s.tell("WeightHeldLower", f"{weight} % for now", s.candidate, warning=True) if lower else s


def promote(s: Situation) -> Situation:
    """Shifting -> Watching, or Serving where there is nothing to watch: the candidate is the stable version."""
    old, rollout = s.status.stable, s.rollout
    stable = s.trial.model_copy(update={"weight": FULL})
    delay = timedelta(0) if rollout.surge == Surge.REPLACE else s.spec.rollout.scale_down_delay
    watched = old is not None and delay > timedelta(0) and rollout.cause != "Rollback"
    watching = rollout.model_copy(
        update={
            "phase": Phase.WATCHING.value,
            "previous": old.model_copy(update={"weight": 0}) if old else None,
            "until": s.now + delay,
            "waiting_since": None,
            "evidence": watch(rollout.evidence, s.now) if rollout.evidence else None,
            "queries": (),
            "queried_at": None,
            **NO_HOLD,
        }
    )
    s = s.remember(stable=stable, candidate=None, rollout=watching if watched else None)
    s = s.remember(
        rollback="" if s.status.rollback == stable.revision else s.status.rollback,
        restart="" if s.status.restart == stable.revision else s.status.restart,
    )
    s = noted(forgive(s, stable.revision), stable, PROMOTED)
    return s.tell("Promoted", f"version {stable.version} is the stable version", stable.revision)


def send_back(s: Situation, failure: Failure | None, why: str = "") -> Situation:
    """Proving, Shifting, Holding -> Returning (Failed where nothing else serves).

    Without a failure nothing is held against the candidate: the spec has just moved on.
    """
    candidate = s.trial
    had_weight = candidate.weight > 0 or s.rollout.weight > 0
    if failure is not None:
        outcome = ROLLED_BACK if had_weight else REFUSED
        s = noted(reject(s, candidate.revision, failure), candidate, outcome, failure.reason)
    reason, message = (failure.reason, failure.message) if failure else ("Superseded", why)
    s = s.remember(
        candidate=candidate.model_copy(update={"weight": 0}),
        rollback="" if s.status.rollback == candidate.revision else s.status.rollback,
        restart="" if s.status.restart == candidate.revision else s.status.restart,
    )
    kept = failure is not None and s.first
    s = s.in_rollout(
        phase=(Phase.FAILED if kept else Phase.RETURNING).value,
        weight=0,
        waiting_since=None,
        frozen_since=None,
        until=s.now + LONGEST_LOOK if kept else None,
        hold_reason=code(reason),
        hold_message=sentence(message),
    )
    event = "RolledBack" if had_weight else "RolloutEnded"
    s = s.tell(event, f"{reason}: {message}", candidate.revision, warning=failure is not None)
    return replace(s, judgement=None)


def return_to_previous(s: Situation, failure: Failure | None) -> Situation:
    """Watching -> Returning: the warm old version is the stable one again, at once."""
    failed, old = s.serving, s.rollout.previous or s.serving
    if failure is not None:
        s = noted(reject(s, failed.revision, failure), failed, ROLLED_BACK, failure.reason)
    reason, message = (failure.reason, failure.message) if failure else ("Returned", "the spec names the old version")
    s = s.remember(
        stable=_weighted(old, FULL),
        candidate=_weighted(failed, 0),
        rollback="" if s.status.rollback == old.revision else s.status.rollback,
    )
    returning = RolloutStatus(
        cause=s.rollout.cause,
        phase=Phase.RETURNING.value,
        live=s.rollout.live,
        began_at=s.rollout.began_at,
        weight_before=FULL,
        weight_asked_at=s.now,
        hold_reason=code(reason),
        hold_message=sentence(message),
    )
    s = s.remember(rollout=returning)
    s = s.tell("RolledBack", f"{reason}: {message}", failed.revision, warning=failure is not None)
    return replace(s, judgement=None)


def settle(s: Situation) -> Situation:
    """Returning, Watching, Failed -> Serving: the version that got no requests goes."""
    return replace(s.remember(candidate=None, rollout=None), judgement=None)


def _weighted(version: RevisionStatus, weight: int) -> RevisionStatus:
    return version.model_copy(update={"weight": weight})
