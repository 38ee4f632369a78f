"""Pausing freezes the steps: nothing is aborted, nothing taken back, and time stands still."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Story

Scenario = Callable[..., Story]


def by_spec(story: Story, on: bool) -> None:
    story.edit(paused=on).settle()


def by_command(story: Story, on: bool) -> None:
    story.command("pause" if on else "resume")


Pause = Callable[[Story, bool], None]
EITHER = pytest.mark.parametrize("pause", [by_spec, by_command])


@EITHER
def test_a_paused_rollout_keeps_its_weight_and_resumes_where_it_was(scenario: Scenario, pause: Pause) -> None:
    story = scenario(steps=[(10, "2m"), (50, "1m")]).serving("v1")
    story.apply("v2").until_weight(10).runs("1m")
    pause(story, True)
    assert story.runs("40m").weights == {"v1": 90, "v2": 10}
    assert story.hold == "Paused"

    pause(story, False)

    assert story.runs("30s").hold == "StepHold"
    assert story.until_phase("Watching", within="20m").stable == "v2"
    assert story.told("DeadlinePromotes") == 0


@EITHER
def test_a_paused_rollout_is_not_rolled_back_until_it_goes_on(scenario: Scenario, pause: Pause) -> None:
    story = scenario(steps=[(10, "10m")]).serving("v1")
    story.apply("v2").until_weight(10)
    pause(story, True)

    story.servers_of("v2", errors=0.5).runs("5m")
    assert story.weights == {"v1": 90, "v2": 10}
    pause(story, False)

    assert story.settle().weights == {"v1": 100}
    assert story.rejected[0][0] == "Content"


def test_a_paused_candidate_is_proved_all_the_same(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").edit(paused=True)

    story.apply("v2").runs("5m")

    assert story.candidate == "v2"
    assert story.weights == {"v1": 100}
    assert story.hold == "Paused"


def test_a_person_may_abort_a_paused_rollout(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "10m")], paused=False).serving("v1")
    story.apply("v2").until_weight(10).edit(paused=True).settle()

    story.command("abort").settle()

    assert story.weights == {"v1": 100}
    assert story.rejected == [("Command", "Aborted")]


def test_a_paused_watch_neither_ends_nor_returns(scenario: Scenario) -> None:
    story = scenario(steps=[50]).serving("v1")
    story.apply("v2").until_phase("Watching").edit(paused=True)

    story.servers_of("v2", errors=0.5).runs("20m")

    assert story.stable == "v2"
    assert story.replicas == {"v1": 1, "v2": 1}


def test_a_first_version_does_not_wait_for_resume(scenario: Scenario) -> None:
    assert scenario(paused=True).settle().weights == {"v1": 100}


def test_pausing_twice_is_told_once(scenario: Scenario) -> None:
    story = scenario().serving("v1").command("pause").command("pause").command("resume").command("resume")

    assert (story.told("Paused"), story.told("Resumed")) == (1, 1)


def test_a_person_may_roll_back_while_rollouts_are_paused(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1").apply("v2").until(lambda story: story.stable == "v2")
    story.until_phase("Serving").edit(paused=True).settle()

    story.command("rollback-to", "v1").settle()

    assert story.weights == {"v1": 100}
