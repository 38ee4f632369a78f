"""A few requests after a weight was given, against it, and then none: who waits for what, and what is still found out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Story

Scenario = Callable[..., Story]
BY_HAND = [(10, "manual"), (50, "manual")]
LEFTOVERS = 15  # all of the stable version: at 50 % that is no chance any more


@pytest.fixture
def silent(scenario: Scenario) -> Story:
    """50 % is asked for; what was under way before is counted after it, and nobody sends anything more."""
    story = scenario(steps=BY_HAND, rollout={"progressDeadline": "20m"}).serving("v1")
    story.apply("v2").until_weight(10)
    story.world.rate = 0
    story.command("promote")
    assert (story.phase, story.weights) == ("Shifting", {"v1": 50, "v2": 50})
    sends(story, "v1", LEFTOVERS)
    return story


def sends(story: Story, version: str, requests: int) -> None:
    story.world.counters[story.revision(version)].serve(requests, 0.0, 1.0)


def test_when_requests_cease_those_of_before_do_not_hold_the_step(silent: Story) -> None:
    silent.runs("1m")
    assert (silent.phase, silent.hold) == ("Shifting", "Converging"), "more may come, and say what the gateway does"

    silent.until_phase("Holding", within="2m")

    assert silent.turn().status.rollout is not None
    assert silent.hold == "WaitingForPromote"


def test_requests_that_come_seldom_and_against_the_weight_hold_the_step(silent: Story) -> None:
    for _ in range(10):
        sends(silent, "v1", 1)
        silent.runs("50s")

    assert (silent.phase, silent.hold) == ("Shifting", "Converging")


def test_counters_that_cannot_be_read_are_no_silence(silent: Story) -> None:
    silent.runs("20s")
    silent.world.unreadable = True
    assert silent.runs("5m").phase == "Shifting"

    silent.world.unreadable = False
    silent.until_phase("Holding", within="1m")


def test_a_weight_that_many_requests_have_contradicted_is_not_believed_in_silence(silent: Story) -> None:
    sends(silent, "v1", 500)

    silent.runs("10m")

    assert (silent.phase, silent.hold) == ("Shifting", "WeightIgnored")


def test_a_weight_that_was_believed_in_silence_is_doubted_when_requests_come(silent: Story) -> None:
    silent.until_phase("Holding", within="3m")

    silent.world.rate, silent.world.ignores_weights = 50.0, True

    silent.until(lambda one: one.hold == "WeightIgnored", within="3m")
    assert (silent.phase, silent.truth("RouteReady")) == ("Holding", ("False", "WeightIgnored"))
