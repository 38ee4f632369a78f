"""A status that can be worked with, whatever was read: lost, half written, by another version, from the future.

Nothing here decides about a rollout; it removes what contradicts itself.  The stable version's identity comes back
from the front (`Observed.stable_marker`) and its record.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tidegate.api.status import MAX_HISTORY, HistoryEntry, RevisionStatus, RolloutStatus
from tidegate.plan.commands import new_commands
from tidegate.plan.history import PROMOTED
from tidegate.plan.observed import RevisionRecord
from tidegate.plan.phases import Phase
from tidegate.plan.situation import Situation

LONGEST_LOOK = timedelta(minutes=10)  # how long the servers of a failed first deployment are kept
_PAST = (
    "began_at",
    "entered_at",
    "started_at",
    "weight_asked_at",
    "step_started_at",
    "waiting_since",
    "frozen_since",
    "stable_down_since",
    "checked_old_at",
    "queried_at",
)


def described(record: RevisionRecord, weight: int = 0) -> RevisionStatus:
    """A revision as the status shows it."""
    bundle = record.resolution
    return RevisionStatus(
        revision=record.revision,
        number=record.number,
        digest=bundle.digest,
        uri=bundle.uri,
        version=bundle.version,
        weight=weight,
        device=str(record.runtime.device),  # known already: shown later, it would be a write of its own
    )


def recover(s: Situation) -> Situation:
    """A lost status rebuilt: the stable revision from the front; commands found then are noted, not obeyed."""
    if s.status.observed_generation or s.status.stable or s.status.candidate:
        return s
    commands = {**s.status.commands, **new_commands(s.observed.commands, s.status.commands)}
    s = s.remember(commands=commands)
    record = s.record(s.observed.stable_marker)
    if record is None:
        return s
    s = s.tell("StatusRebuilt", f"{record.revision} serves, says the front", record.revision)
    return s.remember(stable=described(record, weight=100), history=_history(s, record))


def _history(s: Situation, stable: RevisionRecord) -> tuple[HistoryEntry, ...]:
    """What can be returned to: of versions before the stable one only those that have served leave a record."""
    older = [record for record in s.observed.records.values() if record.number < stable.number]
    kept = sorted([*older, stable], key=lambda record: record.number)[-MAX_HISTORY:]
    return tuple(
        HistoryEntry(
            revision=record.revision,
            number=record.number,
            digest=record.resolution.digest,
            version=record.resolution.version,
            outcome=PROMOTED,
            at=s.now,
        )
        for record in kept
    )


def straighten(s: Situation) -> Situation:
    """Drop what cannot be true together."""
    return _times(_rollout(_candidate(s)))


def _candidate(s: Situation) -> Situation:
    status = s.status
    if status.candidate and status.candidate.revision == s.stable:
        return s.remember(candidate=None)
    if status.candidate and status.rollout is None:  # take it back in order
        return s.remember(rollout=RolloutStatus(cause="Spec", phase=Phase.RETURNING.value, weight_asked_at=s.now))
    return s


def _rollout(s: Situation) -> Situation:
    rollout = s.status.rollout
    if rollout is None:
        return s
    if rollout.phase == Phase.WATCHING:
        return _watching(s)
    if s.status.candidate is None:
        return s.remember(rollout=None)
    return _weights(s)


def _weights(s: Situation) -> Situation:
    """A candidate has weight in Shifting and Holding only; an unknown phase is looked at as Shifting."""
    phase, candidate = s.rollout.phase, s.status.candidate
    if phase not in set(Phase) or (phase == Phase.PROVING and s.rollout.weight):
        return s.in_rollout(phase=Phase.SHIFTING.value)
    if candidate and candidate.weight and phase not in (Phase.SHIFTING, Phase.HOLDING):
        return s.remember(candidate=candidate.model_copy(update={"weight": 0}))
    return s


def _watching(s: Situation) -> Situation:
    if s.status.candidate is not None or s.first or s.previous in ("", s.stable):
        return s.remember(rollout=None, candidate=None)
    return s


def _times(s: Situation) -> Situation:
    """After a clock stepped back nothing happened later than now, and no wait is longer than it may be."""
    rollout = s.status.rollout
    if rollout is None:
        return s
    values = {name: getattr(rollout, name) for name in _PAST}
    late: dict[str, datetime] = {name: s.now for name, at in values.items() if at is not None and at > s.now}
    latest = s.now + max(s.spec.rollout.scale_down_delay, LONGEST_LOOK)
    if rollout.until is not None and rollout.until > latest:
        late["until"] = latest
    return s.in_rollout(**late) if late else s
