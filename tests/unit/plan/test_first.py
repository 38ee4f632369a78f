"""The first version: no steps, guards or shadow."""

from __future__ import annotations

from collections.abc import Callable

from .conftest import Story

Scenario = Callable[..., Story]


def test_a_first_version_is_resolved_started_and_routed(scenario: Scenario) -> None:
    story = scenario().settle()

    assert story.stable == "v1"
    assert story.weights == {"v1": 100}
    assert story.phase == "Serving"
    assert story.truth("Ready") == ("True", "Serving")
    assert story.truth("Promoted") == ("True", "Promoted")


def test_nothing_is_routed_before_the_first_version_is_ready(scenario: Scenario) -> None:
    story = scenario().servers_of("v1", ready=0).settle()

    assert story.weights == {}
    assert story.candidate == "v1"
    assert story.truth("Ready") == ("False", "CandidateNotReady")
