"""Whatever people do, and whenever: a deployment comes to what its spec says, and what is not ours stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.fakes.fields import Object

from tidegate.plan.manifests.identity import CONFIG_MAP, CONTROLLER_REVISION, DEPLOYMENT, NETWORK_POLICY, SERVICE, Kind

from .cluster_endings import ending, outcome
from .cluster_families import all_end_the_same, every
from .cluster_stage import HERE, NAME, Stage
from .cluster_stories import BY_NAME, serves, until, v1_serves, v1_serves_and_scales
from .cluster_story import Frame, Story, reference, settle_stage
from .cluster_tally import ran
from .cluster_vandals import VANDALS, unseen

PROMOTED = BY_NAME["promoted"]
Does = Callable[[Stage], object]


def moments() -> list[Frame]:
    """Of the way from v1 to v2."""
    return [frame for frame in reference(PROMOTED).moments() if frame.run.cursor]


# -- edits --------------------------------------------------------------------------------------------


def pauses(stage: Stage) -> None:
    stage.edit(paused=True)
    stage.pass_time(300)
    stage.edit(paused=False)


def aborts_and_retries(stage: Stage) -> None:
    stage.command("abort")
    stage.pass_time(60)
    stage.command("retry")


def autoscales_for_a_while(stage: Stage) -> None:
    stage.edit(scaling={"minReplicas": 3, "maxReplicas": 6})
    stage.pass_time(60)
    stage.edit(scaling={"minReplicas": 3})


EDITS: dict[str, tuple[Does, tuple[str, ...]]] = {
    "another version": (lambda stage: stage.deploy("v3"), ("v3",)),
    "the old version": (lambda stage: stage.deploy("v1"), ("v1",)),
    "other steps": (lambda stage: stage.edit(rollout={"steps": [{"weight": 40, "hold": "5s"}]}), ("v2",)),
    "no steps": (lambda stage: stage.edit(rollout={"steps": []}), ("v2",)),
    "more servers": (lambda stage: stage.edit(scaling={"minReplicas": 5}), ("v2",)),
    "fewer servers": (lambda stage: stage.edit(scaling={"minReplicas": 1}), ("v2",)),
    "an autoscaler": (lambda stage: stage.edit(scaling={"minReplicas": 3, "maxReplicas": 6}), ("v2",)),
    "an autoscaler for a while": (autoscales_for_a_while, ("v2",)),
    "a pause": (pauses, ("v2",)),
    "abort and retry": (aborts_and_retries, ("v2",)),
    "abort": (lambda stage: stage.command("abort"), ("v1", "v2")),  # v2 where there was nothing to abort
    "everything at once": (lambda stage: stage.command("promote-full"), ("v2",)),
    "servers in their places": (lambda stage: stage.edit(rollout={"surge": "Replace"}), ("v2",)),
    "no time to look": (lambda stage: stage.edit(rollout={"scaleDownDelay": "0s"}), ("v2",)),
    "other limits": (lambda stage: stage.edit(rollout={"analysis": {"minRequests": 5, "maxErrorRate": 0.01}}), ("v2",)),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_spec_may_change_in_any_phase(edit: str) -> None:
    does, ends = EDITS[edit]
    for frame in every(2, moments(), start=list(EDITS).index(edit)):
        stage = frame.run.stage.copy()
        stage.witness.floor = 0 if "servers" in edit else stage.witness.floor
        stage.work()
        does(stage)
        stage.until("it is over", lambda now: any(serves(now, version) for version in ends))
        settle_stage(stage)
        assert stage.truth("Promoted")[0] == "True" or stage.truth("Stalled")[1] in ("Aborted", "RolledBack")
        ran("P16")


THERE: tuple[dict[str, Any], ...] = (
    {"runtime": {"sessions": 2}},
    {"runtime": {"threads": {"intraOp": 2}}},
    {"runtime": {"batching": {"maxSize": 4}}},
    {"runtime": {"env": [{"name": "TZ", "value": "UTC"}]}},
    {"runtime": {"image": "registry.example/tidegate/runtime:2"}},
    {"runtime": {"pod": {"labels": {"team": "fraud"}}}},
    {"scaling": {"minReplicas": 2}},
    {"scaling": {"minReplicas": 1}},
    {"scaling": {"minReplicas": 4, "maxReplicas": 9}},
    {"acceptance": {"metrics": {"accuracy": {"min": 0.99}}}},
    {"acceptance": {"golden": "Skip"}},
    {"rollout": {"steps": []}},
    {"rollout": {"surge": "Replace"}},
    {"rollout": {"analysis": {"confidence": 0}}},
    {"rollout": {"shadow": {"percent": 50}}},
    {"rollout": {"scaleDownDelay": "0s"}},
    {"rollout": {"historyLimit": 1}},
    {"paused": True},
    {"bundle": {"uri": "s3://models/fraud/v2"}},
    {"bundle": {"uri": "s3://models/fraud/none"}},
)
BACK: dict[str, Any] = {"runtime": {}, "scaling": {}, "acceptance": {}, "rollout": {}, "paused": False}


@pytest.mark.parametrize("change", THERE, ids=str)
def test_a_change_that_is_taken_back_leaves_what_was_there(change: dict[str, Any]) -> None:
    for between in every(2, (0.0, 90.0, 5.0), start=THERE.index(change)):
        stage = v1_serves().copy()
        stage.witness.floor = 1
        before = without_memory(ending(stage))
        stage.edit(**change)
        if between:
            stage.pass_time(between)
        stage.edit(**BACK, bundle={"uri": "s3://models/fraud/v1"})
        stage.until("v1 serves", lambda now: serves(now, "v1") and now.truth("Promoted")[0] == "True")
        settle_stage(stage)
        assert without_memory(ending(stage)) == before
        ran("P17")


def without_memory(found: dict[str, Any]) -> dict[str, Any]:
    """Without what a deployment remembers of versions that served, and their records."""
    kept = {name: obj for name, obj in found.items() if not name.startswith("ControllerRevision")}
    status = dict(kept[f"ModelDeployment {NAME}"]["status"])
    for part in ("history", "rejected", "resolution", "conditions", "lastNumber"):
        status.pop(part, None)
    status["stable"] = {**status["stable"], "number": 0}
    return {**kept, f"ModelDeployment {NAME}": status}


# -- children -----------------------------------------------------------------------------------------

AT_REST = Story("at rest", (until("a minute", lambda stage: stage.clock.monotonic() > 660),), v1_serves)
SCALES_AT_REST = Story(
    "scales", (until("a minute", lambda stage: stage.clock.monotonic() > 660),), v1_serves_and_scales
)


@pytest.mark.parametrize("vandal", VANDALS, ids=lambda vandal: vandal.name)
def test_children_that_were_edited_or_deleted_are_mended(vandal: Any) -> None:
    for story in (AT_REST, SCALES_AT_REST):
        known = reference(story)
        all_end_the_same("P18", known, [(known.frames[0], vandal)])


MENDED = tuple(vandal for vandal in VANDALS if not vandal.name.startswith("ControllerRevision"))


@pytest.mark.parametrize("vandal", MENDED, ids=lambda vandal: vandal.name)
def test_children_are_mended_in_every_phase(vandal: Any) -> None:
    known = reference(PROMOTED)
    all_end_the_same("P18", known, ((frame, vandal) for frame in every(3, moments(), start=MENDED.index(vandal))))


DELETED = tuple(unseen(vandal) for vandal in MENDED if "deleted" in vandal.name)


@pytest.mark.parametrize("vandal", DELETED, ids=lambda vandal: vandal.name)
def test_what_was_deleted_unseen_is_made_again_when_it_is_needed(vandal: Any) -> None:
    known = reference(PROMOTED)
    some = every(2, moments(), start=DELETED.index(vandal))
    all_end_the_same("P8", known, ((frame, vandal) for frame in some))


def test_records_that_are_lost_keep_no_rollout_from_its_end() -> None:
    """Of the version that goes there is no record then: what was not resolved is not made up."""
    for vandal in set(VANDALS) - set(MENDED):
        for frame in every(3, moments()):
            run = frame.run.copy()
            vandal.strike(run.stage)
            run.go()
            settle_stage(run.stage)
            assert outcome(run.stage) == reference(PROMOTED).outcome
            ran("P18")


# -- deletion -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("alive", [True, False], ids=["with an operator", "without"])
def test_a_deleted_deployment_leaves_nothing_behind(alive: bool) -> None:
    for frame in moments():
        stage = frame.run.stage.copy()
        stage.delete()
        if not alive:
            stage.down_for = 10**6
            stage.kill()
        stage.pass_time(30)
        assert [obj["metadata"]["name"] for obj in stage.objects()] == []
        ran("P19")


def test_a_deployment_that_is_made_again_at_once_is_a_new_one() -> None:
    for frame in moments():
        stage = frame.run.stage.copy()
        stage.delete()
        stage.deploy("v3")
        stage.until("v3 serves", lambda now: serves(now, "v3"))
        settle_stage(stage)
        assert [entry.version for entry in stage.status.history] == ["v3"]
        ran("P19")


def test_orphans_are_never_adopted_and_when_they_are_gone_the_new_deployment_serves() -> None:
    for frame in moments()[2::2]:
        stage = frame.run.stage.copy()
        stage.delete(cascade="orphan")
        orphans = stage.objects()
        for obj in orphans:
            stage.witness.strange(obj)
        stage.deploy("v2")
        stage.pass_time(120)
        assert "NameTaken" in str(stage.status)
        remove(stage, orphans)
        stage.until("v2 serves", lambda now: serves(now, "v2"))
        settle_stage(stage)
        ran("P19")


def remove(stage: Stage, objects: list[Object]) -> None:
    stage.witness.foreign.clear()
    for obj in objects:
        kind = stage.kind_of(obj)
        if stage.cluster.find(kind, HERE, obj["metadata"]["name"]):
            stage.users.delete(kind, HERE, obj["metadata"]["name"])


# -- names --------------------------------------------------------------------------------------------


def taken_names(stage: Stage) -> dict[str, tuple[Kind, str]]:
    """The names that v2 will want."""
    revision = next(iter(reference(PROMOTED).frames[-1].run.stage.view.deployments))
    child = f"{NAME}-{revision}"
    return {
        "front": (SERVICE, NAME), "access": (CONFIG_MAP, f"{NAME}-access"),
        "network": (NETWORK_POLICY, f"{NAME}-network"), "record": (CONTROLLER_REVISION, child),
        "servers": (DEPLOYMENT, child), "service": (SERVICE, child),
    }  # fmt: skip


def strangers() -> dict[str, Object]:
    labels = {"app": "strange"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
    return {
        SERVICE.kind: {"spec": {"ports": [{"port": 80}], "selector": labels}},
        CONFIG_MAP.kind: {"data": {"mine": "1"}},
        NETWORK_POLICY.kind: {"spec": {"podSelector": {"matchLabels": labels}}},
        CONTROLLER_REVISION.kind: {"revision": 7, "data": {"mine": "1"}},
        DEPLOYMENT.kind: {"spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}},
    }


@pytest.mark.parametrize("what", ["front", "access", "network", "record", "servers", "service"])
def test_an_object_of_somebody_else_is_never_adopted(what: str) -> None:
    stage = Stage()
    kind, name = taken_names(stage)[what]
    body = strangers()[kind.kind]
    head = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name, "namespace": HERE}}
    stage.witness.strange(stage.users.create(head | body))
    stage.deploy("v2")
    stage.pass_time(240)

    if what in ("front", "servers"):
        assert "is not ours" in str(stage.status)
        assert not serves(stage, "v2")

    stage.witness.foreign.clear()
    stage.users.delete(kind, HERE, name)
    stage.until("v2 serves", lambda now: serves(now, "v2"))
    settle_stage(stage)
    assert outcome(stage)["Promoted"][0] == "True"
    ran("P20")
