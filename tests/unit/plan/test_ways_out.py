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
