"""A status that is lost, half, odd, or from another time: the state machine converges again and never raises."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tidegate.api.status import ModelDeploymentStatus, RevisionStatus, RolloutStatus

from .conftest import Story

Scenario = Callable[..., Story]


def test_a_lost_status_is_rebuilt_from_the_front(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1")

    story.loses_status().settle()

    assert story.stable == "v1"
    assert story.weights == {"v1": 100}
    assert story.told("StatusRebuilt") == 1
    assert story.told("RolloutStarted") == 1


def test_a_lost_status_loses_none_of_the_versions_that_can_be_returned_to(scenario: Scenario) -> None:
    story = scenario(steps=[], rollout={"scaleDownDelay": "0s"}).serving("v1").apply("v2").settle()
    assert story.stable == "v2"

    story.loses_status().settle()
    assert [(entry.version, entry.outcome) for entry in story.status.history[:2]] == [
        ("v1", "Promoted"),
        ("v2", "Promoted"),
    ]
    story.command("rollback-to", "v1").runs("1m")

    assert story.stable == "v1"


def test_a_status_lost_in_mid_rollout_begins_the_rollout_again(scenario: Scenario) -> None:
    story = scenario(steps=[10, 50]).serving("v1").apply("v2").until_weight(50)

    story.loses_status().settle(1)
    assert story.weights == {"v1": 100}
    story.until_phase("Watching")

    assert story.stable == "v2"


def test_commands_found_with_a_lost_status_are_noted_and_not_obeyed(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")]).serving("v1").apply("v2").until_weight(10).command("abort").command("pause")

    story.loses_status().settle().runs("2m")

    assert story.candidate == "v2"
    assert story.weights == {"v1": 90, "v2": 10}


def test_a_status_lost_together_with_everything_else_is_a_first_deployment(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").loses_status()
    story.world.records.clear()
    story.world.servers.clear()
    story.world.weights.clear()

    assert story.settle().weights == {"v1": 100}
    assert story.told("StatusRebuilt") == 0


def test_a_lost_record_of_the_stable_version_is_pieced_together_and_read_again(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1")
    story.world.records.clear()
    story.world.resolved = None

    story.settle()

    assert story.weights == {"v1": 100}
    assert story.truth("Promoted") == ("True", "Promoted")


def test_a_candidate_without_a_rollout_is_taken_back(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")]).serving("v1").apply("v2").until_weight(50)
    story.world.status = story.status.model_copy(update={"rollout": None})

    story.turn()
    assert story.weights == {"v1": 100}

    assert story.settle().candidate == "v2"


def test_a_candidate_that_is_the_stable_version_is_none(scenario: Scenario) -> None:
    story = scenario().serving("v1")
    story.world.status = story.status.model_copy(update={"candidate": story.status.stable})

    assert story.settle().candidate == ""


def test_a_rollout_without_a_candidate_is_none(scenario: Scenario) -> None:
    story = scenario().serving("v1")
    story.world.status = story.status.model_copy(update={"rollout": RolloutStatus(phase="Holding")})

    assert story.settle().phase == "Serving"


def test_a_watch_without_an_old_version_is_none(scenario: Scenario) -> None:
    story = scenario().serving("v1")
    story.world.status = story.status.model_copy(update={"rollout": RolloutStatus(phase="Watching")})

    assert story.settle().phase == "Serving"


def test_a_phase_of_another_version_goes_on_from_its_weight(scenario: Scenario) -> None:
    story = scenario(steps=[10, (50, "1m")]).serving("v1").apply("v2").until_weight(50)
    rollout = story.status.rollout
    assert rollout is not None
    story.world.status = story.status.model_copy(
        update={"rollout": rollout.model_copy(update={"phase": "Contemplating"})}
    )

    story.turn()
    assert story.weights == {"v1": 50, "v2": 50}

    assert story.until_phase("Watching").stable == "v2"


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("phase", ["Proving", "Holding", "Watching"])
def test_a_clock_that_steps_by_an_hour_stops_nothing_for_ever(scenario: Scenario, phase: str, hours: int) -> None:
    story = scenario(steps=[10, 50]).serving("v1").servers_of("v2", ready=0 if phase == "Proving" else None)
    story.apply("v2").until_phase(phase)

    story.world.now += timedelta(hours=hours)
    story.turn()
    story.servers_of("v2", ready=None).until(lambda story: story.phase == "Serving" and story.stable == "v2", "90m")

    assert story.stable == "v2"


def test_a_watch_outlasts_a_clock_that_steps_back_by_no_more_than_itself(scenario: Scenario) -> None:
    story = scenario(steps=[50]).serving("v1").apply("v2").until_phase("Watching")

    story.world.now -= timedelta(hours=5)
    story.runs("16m")

    assert story.phase == "Serving"


def test_any_mixture_of_parts_of_a_status_is_survived(scenario: Scenario) -> None:
    version = RevisionStatus(revision="gone", number=3, weight=40)
    phases = ["", "Proving", "Shifting", "Holding", "Returning", "Watching", "Failed", "?"]
    for phase in phases:
        for stable in (None, version):
            for candidate in (None, version, RevisionStatus(revision="other", weight=7)):
                for previous in (None, version):
                    story = scenario(steps=[10])
                    story.world.status = ModelDeploymentStatus(
                        observed_generation=1,
                        stable=stable,
                        candidate=candidate,
                        rollout=RolloutStatus(phase=phase, weight=77, live=0, previous=previous),
                        rollback="nowhere",
                        restart="nowhere",
                    )
                    story.settle(12)
                    assert story.plan.weights


def test_the_largest_texts_fit_into_the_status(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").fails("v2", "R" * 300)

    story.apply("v2").settle()

    assert len(story.rejection().reason) == 63
    assert ModelDeploymentStatus.model_validate_json(story.status.model_dump_json(by_alias=True)) == story.status
