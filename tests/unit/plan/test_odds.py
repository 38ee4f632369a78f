"""Small promises about plans that no story is about."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tidegate.plan import rollout
from tidegate.plan.rejected import backoff

from .conftest import Story

Scenario = Callable[..., Story]


def test_the_same_question_gets_the_same_answer(scenario: Scenario) -> None:
    story = scenario(steps=[10, 50]).serving("v1").apply("v2").until_weight(10)
    from tidegate.plan.plan import plan

    world = story.world
    answers = [plan(world.spec, world.status, world.observed(), world.now) for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]


def test_a_plan_with_its_own_status_as_input_wants_the_same_again(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")]).serving("v1").apply("v2").until_weight(10)
    first = story.turn()

    again = story.turn()

    assert (again.revisions, again.weights, again.events) == (first.revisions, first.weights, ())


def test_one_move_per_plan_is_slower_and_ends_the_same(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "MOST_MOVES", 1)

    story = scenario(steps=[10, 50]).settle(12).apply("v2").until_phase("Watching")

    assert story.stable == "v2"


def test_pauses_between_attempts_double_up_to_an_hour() -> None:
    minutes = [backoff(attempts) / timedelta(minutes=1) for attempts in (1, 2, 3, 6, 7, 8, 500)]

    assert minutes == [1, 2, 4, 32, 60, 60, 60]


def test_a_refused_version_wakes_the_runner_for_its_next_attempt(scenario: Scenario) -> None:
    story = scenario(steps=[10], rollout={"progressDeadline": "1m"}).serving("v1").servers_of("v2", ready=0)

    story.apply("v2").until(lambda story: bool(story.rejected), within="5m").settle(1)

    assert story.plan.look_again is not None
    assert timedelta(seconds=30) < story.plan.look_again <= timedelta(minutes=1)


def test_the_runner_is_woken_when_a_hold_is_over(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "25s")], rollout={"analysis": {"interval": "20s"}}).serving("v1")
    story.apply("v2").until_phase("Holding")

    story.settle(1)

    assert story.plan.look_again is not None
    assert story.plan.look_again < timedelta(seconds=20)


def test_a_revision_that_still_has_weight_is_kept_whatever_the_status_says(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")]).serving("v1").apply("v2").until_weight(50)
    story.world.route_stuck = True

    story.loses_status().apply("v1").settle()

    assert story.replicas == {"v1": 1, "v2": 1}


def test_evidence_of_other_versions_is_begun_again(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")]).serving("v1").apply("v2").until_weight(50).runs("2m")
    found = story.status.rollout
    assert found is not None and found.evidence is not None
    other = found.evidence.model_copy(update={"candidate_revision": "another"})
    story.world.status = story.status.model_copy(update={"rollout": found.model_copy(update={"evidence": other})})

    story.turn()

    assert story.status.rollout is not None
    assert story.status.rollout.evidence is not None
    assert story.status.rollout.evidence.candidate_revision == story.revision("v2")
    assert story.status.rollout.evidence.candidate.requests == 0
