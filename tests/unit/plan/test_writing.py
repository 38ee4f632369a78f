"""Which status is written at once, which waits, and which is not written at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from tidegate.api.status import ModelDeploymentStatus
from tidegate.plan.writing import FIGURES_EVERY, MOMENT, decisions, write_after

from .conftest import Story

Scenario = Callable[..., Story]
NOW = timedelta(0)


def test_a_status_that_says_the_same_is_not_written(scenario: Scenario) -> None:
    story = scenario().serving("v1")

    assert write_after(story.status, story.status, story.world.now, story.world.now + timedelta(days=1)) is None


def test_a_decision_is_written_at_once(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1")
    before = story.status
    story.apply("v2").settle()

    assert write_after(before, story.status, story.world.now, story.world.now) == NOW


def test_the_first_status_is_written_at_once(scenario: Scenario) -> None:
    story = scenario().serving("v1")

    assert write_after(ModelDeploymentStatus(), story.status, None, story.world.now) == NOW


def test_figures_wait_for_their_minute(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "10m")]).serving("v1").apply("v2").until_weight(10).runs("1m")
    before, at = story.status, story.world.now
    story.runs("20s")

    assert story.status != before
    assert decisions(story.status) == decisions(before)
    assert write_after(before, story.status, at, story.world.now) == FIGURES_EVERY - timedelta(seconds=20)
    assert write_after(before, story.status, at, at + FIGURES_EVERY) == NOW


def test_a_clock_that_steps_back_makes_no_figure_wait_for_longer_than_a_minute(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "10m")]).serving("v1").apply("v2").until_weight(10).runs("1m")
    before, at = story.status, story.world.now
    story.runs("20s")

    assert write_after(before, story.status, at, at - timedelta(hours=1)) == FIGURES_EVERY


def test_servers_that_come_and_go_at_rest_are_figures(scenario: Scenario) -> None:
    story = scenario(scaling={"minReplicas": 2, "maxReplicas": 8}).serving("v1")
    before = story.status
    story.world.extra_servers = 5
    story.settle()

    assert story.status != before
    assert decisions(story.status) == decisions(before)


def test_a_whole_rollout_makes_few_writes(scenario: Scenario) -> None:
    """Five steps of two minutes: no more than thirty writes and one for each minute of hold."""
    story = scenario(steps=[(weight, "2m") for weight in (10, 25, 50, 75, 90)]).serving("v1")
    written, written_at, writes, begun = story.status, story.world.now, 0, story.world.now
    story.apply("v2")
    while story.stable != "v2":
        story.runs("10s")
        if write_after(written, story.status, written_at, story.world.now) == NOW:
            written, written_at, writes = story.status, story.world.now, writes + 1

    minutes = (story.world.now - begun) / timedelta(minutes=1)
    assert minutes >= 10
    assert writes <= 30 + minutes


def routed_first(scenario: Scenario) -> tuple[Story, ModelDeploymentStatus]:
    """A first version was asked to get everything, and the status before that."""
    story = scenario(steps=[])
    story.world.route_stuck = True
    story.servers_of("v1", ready=0).settle()
    before = story.status
    story.servers_of("v1", ready=None).turn()
    assert story.phase == "Shifting"
    return story, before


def test_a_first_version_that_is_routed_is_told_of_when_it_is_stable(scenario: Scenario) -> None:
    story, before = routed_first(scenario)

    assert write_after(before, story.status, story.world.now, story.world.now) == MOMENT
    assert write_after(before, story.status, story.world.now, story.world.now + MOMENT) == NOW


def test_a_first_version_whose_route_is_refused_is_told_of_at_once(scenario: Scenario) -> None:
    story, before = routed_first(scenario)
    story.world.route_accepted = False
    story.turn()

    assert write_after(before, story.status, story.world.now, story.world.now) == NOW


def test_what_else_is_decided_while_a_first_version_is_routed_is_written_at_once(scenario: Scenario) -> None:
    story, before = routed_first(scenario)
    paused = story.status.model_copy(update={"paused": True})

    assert write_after(before, paused, story.world.now, story.world.now) == NOW


def test_a_later_version_that_gets_everything_is_told_of_at_once(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1")
    story.world.route_stuck = True
    story.servers_of("v2", ready=0).apply("v2").settle()
    before = story.status
    story.servers_of("v2", ready=None).turn()

    assert story.phase == "Shifting"
    assert write_after(before, story.status, story.world.now, story.world.now) == NOW
