"""Steps, holds and promotion: the way of a healthy version."""

from __future__ import annotations

from collections.abc import Callable

from .conftest import Story

Scenario = Callable[..., Story]


def test_a_new_version_goes_through_its_steps_to_promotion(scenario: Scenario) -> None:
    story = scenario(steps=[10, 50]).serving("v1")

    story.apply("v2").until_weight(10)
    assert story.weights == {"v1": 90, "v2": 10}
    story.until_weight(50)
    assert story.weights == {"v1": 50, "v2": 50}
    story.until_phase("Watching")

    assert story.stable == "v2"
    assert story.weights == {"v2": 100}
    assert story.truth("Promoted") == ("True", "Promoted")
    assert story.told("Promoted") == 2


def test_the_status_shows_weights_that_sum_to_a_hundred(scenario: Scenario) -> None:
    story = scenario(steps=[10, 50]).serving("v1")

    story.apply("v2").until_weight(10)

    assert story.status.stable is not None
    assert story.status.candidate is not None
    assert (story.status.stable.weight, story.status.candidate.weight) == (90, 10)


def test_the_old_version_stays_warm_for_the_scale_down_delay(scenario: Scenario) -> None:
    story = scenario(steps=[50], rollout={"scaleDownDelay": "5m"}).serving("v1")
    story.apply("v2").until_phase("Watching")

    assert story.runs("4m").replicas == {"v1": 1, "v2": 1}
    assert story.runs("2m").replicas == {"v2": 1}
    assert story.phase == "Serving"
    assert story.status.rollout is None
