"""From what was decided to what is wanted: servers, weights, shadow and samples follow from the next status alone.

Nothing is remembered here and nothing decided: the same status gives the same demand, so a crash between writing the
status and carrying the plan out costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from tidegate.plan.acceptance import golden_mode
from tidegate.plan.conditions import rejection
from tidegate.plan.gates import Hold, objection
from tidegate.plan.history import PROMOTED
from tidegate.plan.measuring import quiet
from tidegate.plan.observed import RevisionRecord
from tidegate.plan.phases import ACTIVE, Phase, Surge
from tidegate.plan.rejected import blocked
from tidegate.plan.replicas import FULL
from tidegate.plan.resolving import resolve_wanted, restart
from tidegate.plan.room import asked_for, not_stopped_yet, undecided
from tidegate.plan.situation import Situation
from tidegate.plan.wanted import Plan, RevisionWanted, ShadowWanted

AWAITED_LOOK = timedelta(seconds=10)


def demanded(s: Situation) -> Plan:
    """The plan that this situation's status stands for."""
    hold = objection(s) if s.rollout.phase in ACTIVE else None
    return Plan(
        revisions=servers(s, hold),
        weights=weights(s),
        stable=s.stable,
        pin=s.candidate if s.rollout.phase in ACTIVE and s.servers(s.candidate).ready else None,
        shadow=shadow(s),
        synthetic=synthetic(s),
        resolve=resolve_wanted(s),
        keep=kept(s),
        status=s.status,
        events=s.events,
        decisions=s.decisions,
        look_again=look_again(s, hold),
    )


def weights(s: Situation) -> Mapping[str, int]:
    """Percent by revision; a first version has none before it is ready."""
    share = s.trial.weight
    if s.status.stable is None:
        return {s.candidate: FULL} if share else {}
    given = {s.stable: FULL - share}
    if s.candidate:
        given[s.candidate] = share
    if s.previous:
        given.setdefault(s.previous, 0)
    return given


def servers(s: Situation, hold: Hold | None) -> tuple[RevisionWanted, ...]:
    """How many of each; a revision that the route in effect still sends requests to is not stopped."""
    counts = {name: count for name, count in _counts(s, hold).items() if name}
    for name in s.observed.route.routed - counts.keys():
        counts[name] = max(1, s.servers(name).replicas)
    for name in s.extra_records:  # the runner has not kept these yet
        counts.setdefault(name, 0)
    records = {name: record for name in counts if (record := _record(s, name))}
    return tuple(_wanted(s, records[name], counts[name]) for name in sorted(records))


def _counts(s: Situation, hold: Hold | None) -> dict[str, int]:
    phase, least = s.rollout.phase, s.spec.scaling.min_replicas
    live = max(s.rollout.live, least)
    if phase == "":
        return {s.stable: least}
    if phase == Phase.WATCHING:
        return {s.stable: live, s.previous: s.rollout.live}
    if s.first:
        return {s.candidate: max(least, 1)}
    if phase == Phase.RETURNING:
        return {s.stable: live, s.candidate: max(1, s.servers(s.candidate).replicas)}
    weight = max(s.rollout.weight, _prepared(s, hold))
    keeps = max(s.capacity.stable_keeps(weight), not_stopped_yet(s))
    return {s.stable: max(0, live - s.rollout.live + keeps), s.candidate: _needed(s, weight)}


def _prepared(s: Situation, hold: Hold | None) -> int:
    """The weight that servers are brought up for: the next one, once nothing but servers is missing."""
    only_servers = hold is None or hold.only_servers
    return s.following_weight if only_servers or s.rollout.phase == Phase.PROVING else 0


def _needed(s: Situation, weight: int) -> int:
    return asked_for(s) if undecided(s) else max(1, s.grown.candidate_needs(weight))


def _record(s: Situation, name: str) -> RevisionRecord | None:
    for known in (s.status.stable, s.status.candidate, s.rollout.previous):
        if known is not None and known.revision == name:
            return s.record_of(known)
    return s.record(name)


def _wanted(s: Situation, record: RevisionRecord, count: int) -> RevisionWanted:
    scales = record.revision == s.stable and s.rollout.surge != Surge.REPLACE and not _pinned(s)
    most = max(count, s.spec.scaling.most_replicas) if scales else count
    return RevisionWanted(record, count, most, golden_mode(s.spec, record.resolution))


def _pinned(s: Situation) -> bool:
    """Whether the counts make the shares: then no autoscaler may change them while steps run."""
    return not s.observed.exact_weights and s.rollout.phase in ACTIVE


def shadow(s: Situation) -> ShadowWanted | None:
    """Copies of requests from the time the candidate is ready until it gets everything."""
    percent = s.shadow_percent
    active = s.rollout.phase in ACTIVE and not s.first and s.rollout.weight < FULL
    if not percent or not active or not s.servers(s.candidate).ready:
        return None
    return ShadowWanted(s.stable, s.candidate, percent, s.spec.rollout.analysis.max_divergence)


def synthetic(s: Situation) -> Mapping[str, float]:
    """Golden samples per second: to the candidate where users send none, to a warm old version that is in doubt."""
    rate = s.spec.rollout.analysis.synthetic.rate
    if s.rollout.phase == Phase.WATCHING and s.rollout.checked_old_at:
        return {s.previous: rate or 1.0}
    if s.rollout.phase == Phase.HOLDING and rate and quiet(s) and _has_golden(s):
        return {s.candidate: rate}
    return {}


def _has_golden(s: Situation) -> bool:
    record = s.record(s.candidate)
    return record is not None and record.resolution.has_golden


def kept(s: Situation) -> frozenset[str]:
    """Revisions whose records and bundles are still needed."""
    names = {s.stable, s.candidate, s.previous, s.status.rollback, s.status.restart, *s.extra_records}
    names |= {entry.revision for entry in s.status.history if entry.outcome == PROMOTED}
    if s.target is not None:
        names.add(s.target.revision)
    return frozenset(names - {""})


def look_again(s: Situation, hold: Hold | None) -> timedelta | None:
    """When time alone may change the plan; None when only an observation can."""
    again = restart(s)
    put_off = (rejection(s), blocked(s, again.record.revision) if again else None)
    times = [at - s.now for at in (s.rollout.until, *(known.retry_at for known in put_off if known)) if at]
    if s.rollout.phase in ACTIVE | {Phase.WATCHING, Phase.RETURNING}:
        times.append(s.spec.rollout.analysis.interval)
    if hold and hold.look_again:
        times.append(hold.look_again)
    if resolve_wanted(s) or s.rollout.phase in (Phase.PROVING, Phase.SHIFTING):
        times.append(AWAITED_LOOK)
    return min((time for time in times if time > timedelta(0)), default=None)
