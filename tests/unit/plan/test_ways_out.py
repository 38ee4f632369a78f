"""No story may end in a place that nobody can leave, or go round in circles at the cost of requests."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.plan.observed import Failure, FailureClass

from .conftest import Story
from .world import OTHER

Scenario = Callable[..., Story]

CRASHES = Failure(FailureClass.ENVIRONMENT, "CrashLoop", "the server was ended by SIGSEGV")


def test_a_version_that_keeps_dying_under_requests_goes_back(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")]).serving("v1").apply("v2").until_weight(10)

    story.servers_of("v2", failure=CRASHES).settle()

    assert story.weights == {"v1": 100}
    assert story.rejected == [("Environment", "CrashLoop")]
    assert story.replicas == {"v1": 1}


def test_a_single_death_under_requests_is_waited_out(scenario: Scenario) -> None:
    died = Failure(FailureClass.ENVIRONMENT, "ServerDied", "the server was ended by SIGKILL")
    story = scenario(steps=[(10, "1h")]).serving("v1").apply("v2").until_weight(10)

    story.servers_of("v2", failure=died).settle().servers_of("v2", failure=None).until_weight(10)

    assert story.rejected == []


def test_a_version_that_keeps_dying_before_it_had_requests_has_its_deadline(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").servers_of("v2", failure=CRASHES).apply("v2").runs("10m")
    assert story.rejected == []

    story.servers_of("v2", failure=None).until_weight(10)


def test_with_nothing_ready_to_go_back_to_a_dying_version_stays(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")]).serving("v1").apply("v2").until_weight(10)

    story.servers_of("v1", ready=0).servers_of("v2", failure=CRASHES).settle()

    assert story.rejected == []
    assert story.candidate == "v2"


def test_a_restart_may_be_asked_for_while_what_the_spec_names_is_rejected(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1").fails("v2", "GoldenMismatch").apply("v2").runs("1m")
    before = story.status.stable

    story.command("restart", "v1").until_phase("Watching", within="5m").until_phase("Serving")

    assert before is not None
    assert story.status.stable is not None
    assert story.stable == "v1"
    assert story.status.stable.revision != before.revision
    assert story.truth("Stalled") == ("True", "GoldenMismatch")


def test_a_restart_of_what_is_no_longer_stable_is_forgotten(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1").fails("v2", "GoldenMismatch").apply("v2").runs("1m")
    story.fails("v1", "Unschedulable", "Environment").command("restart", "v1")

    story.servers_of("v2", failure=None).command("retry").runs("2h")

    assert story.stable == "v2"
    assert story.candidate == ""
    assert story.truth("Promoted") == ("True", "Promoted")


def test_a_refused_manifest_is_not_held_against_the_version_that_is_being_tried(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")]).serving("v1").apply("v2").until_weight(50)
    story.servers_of("v1", ready=0)

    story.knows("v3", interface=OTHER).apply("v3").settle()

    assert "InterfaceChanged" not in {reason for _, reason in story.rejected}
    assert story.candidate == "v2"


def test_a_rollback_to_what_serves_ends_a_rollback_that_runs(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1").apply("v2").until_phase("Watching").until_phase("Serving")
    story.servers_of("v1", ready=0)
    story.command("rollback-to", "v1")
    assert story.candidate == "v1"

    story.command("rollback-to", "v2").runs("1h")

    assert story.stable == "v2"
    assert story.candidate == ""
    assert story.weights == {"v2": 100}


def test_a_promoted_version_that_keeps_dying_gives_way_to_the_warm_one_at_once(scenario: Scenario) -> None:
    story = scenario(steps=[50]).serving("v1").apply("v2").until_phase("Watching")

    story.servers_of("v2", failure=CRASHES).settle()

    assert story.weights == {"v1": 100}
    assert story.rejected == [("Environment", "StableLost")]


def test_a_promoted_version_that_died_once_has_half_a_minute(scenario: Scenario) -> None:
    died = Failure(FailureClass.ENVIRONMENT, "ServerDied", "the server was ended by SIGKILL")
    story = scenario(steps=[50]).serving("v1").apply("v2").until_phase("Watching")

    story.servers_of("v2", failure=died).settle().servers_of("v2", failure=None).settle()

    assert story.phase == "Watching"
    assert story.stable == "v2"


def test_the_warm_version_is_back_at_once_when_the_spec_names_it_and_nobody_else_is_ready(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1").apply("v2").until_phase("Watching").servers_of("v2", ready=0)

    story.apply("v1").settle()

    assert story.stable == "v1"
    assert story.weights == {"v1": 100}


def test_the_warm_version_stays_while_a_third_is_asked_for_and_nobody_else_is_ready(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1").apply("v2").until_phase("Watching").servers_of("v2", ready=0)

    story.apply("v3").settle()

    assert story.replicas["v1"] == 1


def no_room(scenario: Scenario) -> Story:
    """v2 serves, v1 is gone, and the only server would have to stop before another could start."""
    story = scenario(steps=[], rollout={"scaleDownDelay": "0s"}).serving("v1").apply("v2").settle().runs("2m")
    return story.edit(rollout={"surge": "Replace"}).settle()


def test_a_rollback_without_room_waits_and_the_status_says_why(scenario: Scenario) -> None:
    story = no_room(scenario).command("rollback-to", "v1").runs("50s")

    assert story.told("GPUUnavailable") == 1
    assert story.truth("Stalled") == ("True", "GPUUnavailable")
    assert story.edit(rollout={"surge": "Replace", "allowDowntime": True}).settle().runs("1m").stable == "v1"


def test_a_restart_without_room_waits_and_the_spec_is_not_stalled(scenario: Scenario) -> None:
    story = no_room(scenario).command("restart", "v2").runs("50s")

    assert story.told("GPUUnavailable") == 1
    assert story.truth("Promoted") == ("True", "Promoted")
    assert story.plan.look_again is not None
    story.edit(rollout={"surge": "Replace", "allowDowntime": True}).settle().runs("1m")
    assert story.told("Promoted") == 3


def test_a_restart_whose_record_cannot_be_kept_is_done_when_it_can(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1")
    story.world.records_refused = True
    story.command("restart", "v1").settle()
    number = story.status.candidate.number if story.status.candidate else 0
    assert story.hold == "RecordMissing"

    story.world.records_refused = False
    story.until_phase("Watching")

    assert story.status.stable is not None
    assert story.status.stable.number == number == story.world.records[story.status.stable.revision].number


def test_a_version_whose_record_cannot_be_kept_has_one_number(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1")
    story.world.records_refused = True
    story.apply("v2").settle()
    assert story.hold == "RecordMissing"

    story.world.records_refused = False
    story.until_phase("Watching")

    assert story.status.stable is not None
    assert story.status.stable.number == story.world.records[story.status.stable.revision].number == 2


def test_a_version_whose_record_can_never_be_kept_goes_back_by_its_deadline(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1")
    story.world.records_refused = True

    story.apply("v2").until(lambda story: bool(story.rejected))

    assert story.rejected == [("Environment", "RecordMissing")]
    assert story.weights == {"v1": 100}


def test_a_restart_that_was_not_remembered_is_asked_for_once(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1")
    story.world.commands["restart"] = f"{story.revision('v1')}@{story.world.now.isoformat()}"
    story.world.crash_before_status()

    story.until_phase("Watching")

    assert story.status.stable is not None
    assert story.status.stable.number == story.world.records[story.status.stable.revision].number == 2


def test_a_restart_that_no_command_explains_is_forgotten(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1")
    story.world.status = story.status.model_copy(update={"restart": "deadbeef00"})
    assert story.settle().candidate == ""

    story.world.commands["restart"] = f"{story.revision('v1')}@{story.world.now.isoformat()}"
    story.world.status = story.status.model_copy(update={"commands": {**story.world.commands}})
    assert story.settle().candidate == ""


def test_a_number_is_given_once_also_after_a_version_that_nobody_remembers(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")]).serving("v1").apply("v2").until_weight(10)
    missing = Failure(FailureClass.ENVIRONMENT, "NotFound", "v3 is not there: push it")
    story.world.bundles["file:///bundles/v3"] = missing
    story.apply("v3").settle()
    assert {record.resolution.version for record in story.world.records.values()} == {"v1"}

    story.knows("v3").runs("2m").settle()

    assert story.candidate == "v3"
    assert story.status.candidate is not None
    assert story.status.candidate.number == 3


def test_while_no_record_can_be_kept_every_look_decides_the_same(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1").apply("v2").settle().runs("10m")
    story.world.records_refused = True
    story.apply("v3").settle().command("rollback-to", "v2").settle()
    before = story.status

    assert story.settle().status == before


def test_a_restart_of_what_nobody_knows_any_more_is_refused(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1").fails("v2", "GoldenMismatch").apply("v2").runs("1m")
    revision = story.revision("v1")
    del story.world.records[revision]
    story.world.commands["restart"] = f"{revision}@{story.world.now.isoformat()}"

    story.settle()

    assert story.candidate == ""
    assert "not known any more" in story.world.events[-1].message
