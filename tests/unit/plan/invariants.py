"""What must hold after every plan, whatever happened before (numbers as in the design's list of invariants)."""

from __future__ import annotations

from tidegate.plan.observed import Observed
from tidegate.plan.phases import ACTIVE
from tidegate.plan.plan import Plan
from tidegate.plan.replicas import Capacity

from .world import World


def check(world: World, before: Observed, made: Plan, last: Plan | None) -> None:
    """Raise AssertionError for the first invariant that this plan breaks."""
    _weights_are_allowed(world, made, last)
    _weight_needs_servers(before, made)
    _stable_keeps_its_servers(made)
    _never_three(made)
    _nothing_with_weight_is_stopped(before, made)
    if len(world.plans) % 5 == 0:  # costly: often enough
        _status_can_be_read_again(made)
    if last is not None:
        _steps_come_one_by_one(made, last)
        _promotion_is_of_what_was_tried(before, made, last)
    assert made.status.observed_generation == world.generation  # I14


def _weights_are_allowed(world: World, made: Plan, last: Plan | None) -> None:
    assert all(isinstance(weight, int) and weight >= 0 for weight in made.weights.values())  # I1
    assert sum(made.weights.values()) in ((100,) if made.weights else (0,))
    candidate = made.status.candidate
    if candidate is None or made.status.stable is None:
        return
    rollout = made.status.rollout
    assert rollout is not None
    capacity = Capacity(max(rollout.live, 1), rollout.surge == "Replace", world.exact_weights)
    allowed = {0, 100, *capacity.ladder(step.weight for step in world.spec.rollout.steps)}
    kept = last.status.candidate.weight if last and last.status.candidate else 0  # steps edited under its feet
    assert candidate.weight in allowed | {kept, rollout.weight}


def _weight_needs_servers(before: Observed, made: Plan) -> None:
    candidate, rollout = made.status.candidate, made.status.rollout
    if candidate is None or not candidate.weight or rollout is None:
        return
    seen = before.revisions.get(candidate.revision)
    assert seen is not None and seen.ready > 0  # I2
    if made.status.stable is not None and not rollout.stable_lost:
        capacity = Capacity(max(rollout.live, 1), rollout.surge == "Replace", before.exact_weights)
        assert capacity.supports(candidate.weight, seen.ready)


def _stable_keeps_its_servers(made: Plan) -> None:
    rollout, stable = made.status.rollout, made.status.stable
    if rollout is None or stable is None or rollout.surge == "Replace":
        return
    wanted = {w.record.revision: w.replicas for w in made.revisions}
    assert wanted[stable.revision] >= rollout.live or rollout.phase == "Failed"  # I3


def _never_three(made: Plan) -> None:
    running = [w for w in made.revisions if w.max_replicas]
    with_weight = [name for name, weight in made.weights.items() if weight]
    assert len(running) <= 2 + len(with_weight)
    versions = [made.status.stable, made.status.candidate]
    if made.status.rollout is not None:
        versions.append(made.status.rollout.previous)
    assert len({version.revision for version in versions if version is not None}) <= 2


def _nothing_with_weight_is_stopped(before: Observed, made: Plan) -> None:
    if made.status.rollout is not None and made.status.rollout.surge == "Replace":
        return  # with a single server its place is needed first: allowDowntime
    wanted = {w.record.revision for w in made.revisions if w.max_replicas}
    for name, weight in before.route.weights.items():
        assert not weight or name in wanted or name not in before.records  # I4


def _steps_come_one_by_one(made: Plan, last: Plan) -> None:
    old, new = last.status.rollout, made.status.rollout
    if old is None or new is None or last.status.candidate is None or made.status.candidate is None:
        return
    if last.status.candidate.revision != made.status.candidate.revision or new.phase not in ACTIVE:
        return
    if old.phase in ACTIVE and not new.stable_lost and not new.full:
        assert new.weight >= old.weight  # I5


def _promotion_is_of_what_was_tried(before: Observed, made: Plan, last: Plan) -> None:
    old, new = last.status.stable, made.status.stable
    if new is None or old is None or old.revision == new.revision:
        return
    tried = {version.revision for version in (last.status.candidate, made.status.candidate) if version}
    if last.status.rollout and last.status.rollout.previous:
        tried.add(last.status.rollout.previous.revision)
    crashed = before.route.weights.get(new.revision) == 100  # a plan whose status was lost has moved everything
    assert crashed or new.revision in tried or any(e.reason == "StatusRebuilt" for e in made.events)  # I6


def _status_can_be_read_again(made: Plan) -> None:
    text = made.status.model_dump_json(by_alias=True)
    assert type(made.status).model_validate_json(text) == made.status
    assert len(text) < 64 * 1024
