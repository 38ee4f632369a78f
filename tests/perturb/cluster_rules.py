"""What must be true after every write, one rule a function (numbers as in the design's list of invariants).

    I1   weights are whole, sum to 100, and are ones that the spec's steps allow
    I2   nobody gets more weight without the ready pods for it, as the writer has seen them
    I3   nothing with weight is scaled below what its weight needs, and the last ready pods are never taken
    I4   servers are taken only after the front has let them go
    I5   a rollout goes up its steps one by one, and down only by its end
    I6   what is promoted was the candidate, or the version that was kept warm
    I7   no foreign object, no predecessor's object, no spec and no label of the user's is touched
    I14  a status never speaks of a generation that is not there

Besides: never three versions run once a turn is over, and a front that has somebody to lead to leads to somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.fakes.faults import Call

from tidegate.api.status import ModelDeploymentStatus, RolloutStatus
from tidegate.plan.manifests.identity import (
    CHILD_KINDS,
    DEPLOYMENT,
    LABEL_DEPLOYMENT,
    LABEL_REVISION,
    MODEL_DEPLOYMENT,
    SERVER,
    SERVICE,
    controller_of,
)
from tidegate.plan.manifests.pods import HTTP_PORT
from tidegate.plan.phases import ACTIVE
from tidegate.plan.replicas import FULL, Capacity

from .cluster_reading import parsed
from .cluster_view import View

if TYPE_CHECKING:
    from .cluster_witness import Witness

Break = str  # what is wrong, beginning with the invariant's number


@dataclass(frozen=True, slots=True)
class Written:
    """One write: what there was before it, and what there is now."""

    call: Call
    before: View
    after: View
    seen: Callable[[str], int]  # ready pods of a revision, as the writer knows of them
    known: str  # uid of the deployment that the writer knows of, which may be gone


# -- the front


def weights_are_allowed(witness: Witness, write: Written) -> Iterator[Break]:
    split, candidate = write.after.split, write.after.status.candidate
    if not _of_front(witness, write) or not split:
        return
    shared = len(split) > 1
    if shared and (candidate is None or candidate.revision not in split or not 0 < candidate.weight < FULL):
        yield f"I1 {sorted(split)} share"
    allowed = witness.weights | {FULL - weight for weight in witness.weights} | replaced(witness, write.after)
    if shared and not set(split.values()) <= allowed:
        yield f"I1 weights {split} are none of the steps' {sorted(witness.weights)}"
    selector = (write.after.front or {})["spec"]["selector"]
    alone = next(iter(split)) if len(split) == 1 else None
    if selector.get(LABEL_REVISION) != alone or selector.get(LABEL_DEPLOYMENT) != witness.key[1]:
        yield f"I1 selector {selector} does not make the weights {split}"
    if alone is None and SERVER not in selector.values():
        yield f"I1 selector {selector} lets pods of Jobs in"


def _of_front(witness: Witness, write: Written) -> bool:
    return write.call.kind == SERVICE and write.call.name == witness.key[1]


def replaced(witness: Witness, view: View) -> set[int]:
    """Weights that exist where a new server takes the place of an old one."""
    live = max(1, view.status.rollout.live if view.status.rollout else 1)
    given = {Capacity(live, replace=True, exact=False).given(weight) for weight in witness.weights if weight < FULL}
    return given | {FULL - weight for weight in given}


def weight_has_its_servers(witness: Witness, write: Written) -> Iterator[Break]:
    before, after = write.before.split, write.after.split
    for revision, weight in after.items():
        if weight > before.get(revision, 0):
            need = needed(write.after.status, revision, weight)
            if write.seen(revision) < need:
                yield f"I2 {revision} gets {weight} % with {write.seen(revision)} of {need} ready pods"


def needed(status: ModelDeploymentStatus, revision: str, weight: int) -> int:
    """Ready pods without which a revision may not get so much."""
    rollout = status.rollout
    if rollout is None or status.stable is None or rollout.stable_lost or rollout.phase not in ACTIVE:
        return 1 if revision_is_new(status, revision) else 0
    if status.candidate is None or status.candidate.revision != revision:
        return 0  # the way back is never barred
    return capacity(rollout).candidate_needs(weight)


def revision_is_new(status: ModelDeploymentStatus, revision: str) -> bool:
    returning = status.rollout is not None and status.rollout.phase == "Returning"
    return not returning and not has_served(status, revision)


def capacity(rollout: RolloutStatus) -> Capacity:
    return Capacity(max(1, rollout.live), rollout.surge == "Replace", exact=False)


def somebody_is_reached(witness: Witness, view: View) -> Iterator[Break]:
    """A front that could lead to ready pods of the stable version leads to somebody."""
    if not view.split or view.reached or not as_we_write_it(view, witness.key[1]):
        return
    if view.marker and view.ready(view.marker):
        yield f"nobody is behind the front {view.split}, and {view.marker} has {view.ready(view.marker)} ready pods"


def as_we_write_it(view: View, name: str) -> bool:
    """Whether nobody else has led the front elsewhere."""
    spec = (view.front or {})["spec"]
    alone = next(iter(view.split)) if len(view.split) == 1 else None
    labels = (spec["selector"].get(LABEL_DEPLOYMENT), spec["selector"].get(LABEL_REVISION))
    return labels == (name, alone) and any(port["port"] == HTTP_PORT for port in spec["ports"])


def somebody_is_reached_now(witness: Witness, write: Written) -> Iterator[Break]:
    if write.before.reached or write.before.front is None:
        yield from somebody_is_reached(witness, write.after)


def enough_are_reached(witness: Witness, write: Written) -> Iterator[Break]:
    if witness.floor and write.after.owner and write.after.reached < min(witness.floor, write.before.reached):
        yield f"the write leaves {write.after.reached} of {write.before.reached} pods behind the front"


# -- servers


def servers_stay_while_they_have_weight(witness: Witness, write: Written) -> Iterator[Break]:
    if write.call.kind != DEPLOYMENT or not write.after.owner:
        return
    status, split = write.after.status, write.after.split
    for revision in write.before.deployments:
        had, has = write.before.replicas(revision), write.after.replicas(revision)
        if has >= had:
            continue
        if split.get(revision):
            least = kept(witness, status, revision, split[revision])
            if has < least:
                yield f"I3 {revision} with {split[revision]} % goes from {had} to {has} pods, {least} are needed"
        elif split and witness.warm(revision) and write.seen(revision) and not any(map(write.seen, split)):
            yield f"I3 the last ready pods ({revision}) go, nobody is ready behind {split}"


def has_served(status: ModelDeploymentStatus, revision: str) -> bool:
    return any(entry.revision == revision and entry.outcome == "Promoted" for entry in status.history)


def may_stop_all(witness: Witness) -> bool:
    """Whether somebody has allowed that the only server stops before the next one is ready."""
    return any((spec.get("rollout") or {}).get("allowDowntime") for spec in witness.specs.values())


def kept(witness: Witness, status: ModelDeploymentStatus, revision: str, weight: int) -> int:
    """Servers that a revision with so much of the requests keeps."""
    least = min(int(spec["scaling"]["minReplicas"]) for spec in witness.specs.values())
    rollout = status.rollout
    if rollout is None or status.stable is None:
        return max(1, least)
    if status.stable.revision == revision:
        return max(capacity(rollout).stable_keeps(prepared(witness, status)), 0 if may_stop_all(witness) else 1)
    return max(1, capacity(rollout).candidate_needs(weight))


def prepared(witness: Witness, status: ModelDeploymentStatus) -> int:
    """The weight that servers change places for, where they do: the next one at most."""
    rollout = status.rollout
    if rollout is None or status.candidate is None:
        return 0
    return next((weight for weight in capacity(rollout).ladder(witness.weights) if weight > rollout.weight), FULL)


def never_three(view: View) -> Iterator[Break]:
    running = sorted(name for name in view.deployments if view.replicas(name))
    if len(running) > 2:
        yield f"three versions run: {running}"


# -- the status


def steps_come_one_by_one(witness: Witness, write: Written) -> Iterator[Break]:
    old, new = write.before.status.rollout, write.after.status.rollout
    before, after = write.before.status, write.after.status
    if write.call.kind != MODEL_DEPLOYMENT or old is None or new is None or before.candidate is None:
        return
    if after.candidate is None or after.candidate.revision != before.candidate.revision:
        return
    if old.phase not in ACTIVE or new.phase not in ACTIVE:
        return
    if new.weight < old.weight:
        yield f"I5 the step goes back from {old.weight} to {new.weight} %"
    if new.weight > old.weight and not (new.full or new.stable_lost):
        following = next(weight for weight in ladder(write.after) if weight > old.weight)
        if new.weight > following:
            yield f"I5 from {old.weight} to {new.weight} %, and the next step is {following} %"


def ladder(view: View) -> tuple[int, ...]:
    """The weights of a rollout; what has served already, and what nobody uses, goes without steps."""
    status = view.status
    if view.owner is None or status.rollout is None or status.stable is None:
        return (FULL,)
    steps = () if status.rollout.cause == "Rollback" or status.rollout.idle else view.owner["spec"]["rollout"]["steps"]
    return capacity(status.rollout).ladder(int(step["weight"]) for step in steps)


def promotion_is_of_what_was_tried(witness: Witness, write: Written) -> Iterator[Break]:
    before, after = write.before.status, write.after.status
    if write.call.kind != MODEL_DEPLOYMENT or after.stable is None or not before.observed_generation:
        return
    if before.stable is not None and before.stable.revision == after.stable.revision:
        return
    tried = [version.revision for version in (before.candidate, after.candidate) if version]
    tried += [before.rollout.previous.revision] if before.rollout and before.rollout.previous else []
    if after.stable.revision not in tried and after.stable.revision != write.before.marker:
        yield f"I6 {after.stable.revision} is stable and was not tried"


def status_speaks_of_what_is_there(witness: Witness, write: Written) -> Iterator[Break]:
    if write.call.kind != MODEL_DEPLOYMENT or write.after.owner is None:
        return
    generation = write.after.owner["metadata"]["generation"]
    if write.after.status.observed_generation > generation:
        yield f"I14 the status speaks of generation {write.after.status.observed_generation}, there is {generation}"


# -- everybody else's


def only_ours_is_touched(witness: Witness, write: Written) -> Iterator[Break]:
    call = write.call
    key = (call.namespace or "", call.name)
    if call.kind not in (*CHILD_KINDS, MODEL_DEPLOYMENT):
        yield f"I7 a write to {call.kind.kind}"
    if call.kind == MODEL_DEPLOYMENT:
        yield from _owner_is_untouched(write)
        return
    objects = witness.cluster.objects
    held = objects.held(call.kind, *key)
    there = parsed(held.text) if held else objects.find(call.kind, *key, objects.version - 1)
    if there and controller_of(there).get("uid") not in {write.before.uid, write.after.uid, write.known} - {""}:
        yield f"I7 a {call.verb} of what is not ours"
    for (kind, name), text in witness.foreign.items():
        stranger = objects.held(kind, *name)
        if stranger is None or stranger.text != text:
            yield f"I7 the foreign {kind.kind} {name[1]} is not what it was"


def _owner_is_untouched(write: Written) -> Iterator[Break]:
    before, after = write.before.owner, write.after.owner
    if write.call.verb != "put_status":
        yield f"I7 {write.call.verb} of a ModelDeployment"
    if before is None or after is None:
        return
    if before["spec"] != after["spec"]:
        yield "I7 the user's spec was changed"
    for part in ("labels", "annotations", "finalizers", "ownerReferences"):
        if before["metadata"].get(part) != after["metadata"].get(part):
            yield f"I7 the user's {part} were changed"


Rule = Callable[["Witness", Written], Iterator[Break]]
RULES: tuple[Rule, ...] = (
    weights_are_allowed,
    weight_has_its_servers,
    somebody_is_reached_now,
    enough_are_reached,
    servers_stay_while_they_have_weight,
    steps_come_one_by_one,
    promotion_is_of_what_was_tried,
    status_speaks_of_what_is_there,
    only_ours_is_touched,
)
