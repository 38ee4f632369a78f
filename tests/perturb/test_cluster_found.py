"""Mistakes that the perturbations have found, each as small as it can be told."""

from __future__ import annotations

import pytest
from tests.fakes.behaviours import Trouble

from tidegate.plan.manifests.identity import CONTROLLER_REVISION

from .cluster_faults import Fault, crash, refuse
from .cluster_stage import HERE, NAME, Stage
from .cluster_stories import BY_NAME, serves, set_servers, v1_serves
from .cluster_story import Frame, reference


def record_number(stage: Stage, revision: str) -> int:
    found = stage.cluster.find(CONTROLLER_REVISION, HERE, f"{NAME}-{revision}")
    assert found
    return int(found["revision"])


def stable_number(stage: Stage) -> tuple[int, int]:
    """What the status and the record say."""
    stable = stage.status.stable
    assert stable
    return stable.number, record_number(stage, stable.revision)


def before(verb: str, kind: str, story: str) -> tuple[Frame, int]:
    """The first such write of a story."""
    known = reference(BY_NAME[story])
    named = zip(known.calls[known.written :], known.writes(), strict=True)
    return next(at for call, at in named if (call.verb, call.kind.kind) == (verb, kind))


def told(frame: Frame, fault: Fault) -> Stage:
    run = frame.run.copy()
    fault.strike(run.stage)
    run.go()
    return run.stage


def test_a_restart_whose_status_was_not_written_keeps_its_number() -> None:
    frame, nth = before("create", "ControllerRevision", "restarted")

    status, record = stable_number(told(frame, crash(after=nth)))

    assert status == record


def test_a_revision_whose_record_was_refused_once_keeps_its_number() -> None:
    frame, nth = before("create", "ControllerRevision", "promoted")

    status, record = stable_number(told(frame, refuse(nth, "403")))

    assert status == record


def test_a_restart_whose_record_was_refused_once_is_not_forgotten() -> None:
    frame, nth = before("create", "ControllerRevision", "restarted")
    stage = frame.run.stage.copy()
    refuse(nth, "403").strike(stage)

    stage.pass_time(600)

    assert stage.times_told("Promoted") == 2


def watched() -> Stage:
    """v2 was promoted a moment ago, v1 is still warm."""
    stage = v1_serves().copy()
    stage.witness.floor = 0
    stage.deploy("v2", rollout={"scaleDownDelay": "60s"})
    stage.until("v2 is watched", lambda now: now.phase == "Watching")
    return stage


def test_a_warm_version_outlives_its_time_while_nobody_else_is_ready() -> None:
    stage = watched()
    stage.pass_time(50)
    set_servers(stage, "v2", trouble=Trouble.NEVER_READY)
    stage.stir()

    stage.pass_time(120)

    assert stage.view.reached


def test_a_warm_version_outlives_a_new_spec_while_nobody_else_is_ready() -> None:
    stage = watched()
    set_servers(stage, "v2", trouble=Trouble.NEVER_READY)
    set_servers(stage, "v3", ready_after=300)
    stage.stir()
    stage.work()
    stage.deploy("v3")

    stage.pass_time(120)

    assert stage.view.reached


@pytest.mark.parametrize("verb", ["restart", "rollback-to"])
def test_a_command_that_finds_no_room_waits_for_it_and_is_told_of_once_a_wait(verb: str) -> None:
    stage = Stage()
    stage.deploy("v1", scaling={"minReplicas": 1}, rollout={"scaleDownDelay": "0s"})
    stage.pass_time(60)
    if verb == "rollback-to":
        stage.deploy("v2")
        stage.until("v2 serves", lambda now: serves(now, "v2"))
    stage.edit(rollout={"surge": "Replace"})
    stage.pass_time(60)
    served = stage.times_told("Promoted")
    stage.command(verb, stage.revision("v1"))

    stage.pass_time(50)
    assert stage.times_told("GPUUnavailable") == 1

    stage.edit(rollout={"surge": "Replace", "allowDowntime": True})
    stage.until("it is done at once", lambda now: now.times_told("Promoted") == served + 1)


def test_the_warm_version_is_back_at_once_when_the_spec_names_it_and_nobody_else_is_ready() -> None:
    stage = watched()
    set_servers(stage, "v2", trouble=Trouble.NEVER_READY)
    stage.stir()
    stage.work()

    stage.deploy("v1")
    stage.pass_time(2)

    assert stage.split == {"v1": 100}
