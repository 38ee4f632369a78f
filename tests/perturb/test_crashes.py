"""A crash at every turn of a rollout, and edits that are taken back: the end is the same as without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.plan.conftest import TURN, Story

Fault = Callable[[Story], object]
MOST_TURNS = 60


def good_update(fault_at: int = -1, fault: Fault | None = None) -> Story:
    """v1 to v2 in two steps, with one fault before the given turn."""
    story = Story(steps=[(10, "20s"), (50, "20s")], rollout={"scaleDownDelay": "30s"}).serving("v1").apply("v2")
    return told(story, fault_at, fault)


def bad_update(fault_at: int = -1, fault: Fault | None = None) -> Story:
    """v2 breaks in its first step."""
    story = Story(steps=[(10, "5m"), 50], rollout={"scaleDownDelay": "30s"}).serving("v1").apply("v2")
    return told(story.servers_of("v2", errors=0.4), fault_at, fault)


def told(story: Story, fault_at: int, fault: Fault | None) -> Story:
    for turn in range(MOST_TURNS):
        if turn == fault_at and fault:
            fault(story)
        story.turn()
        story.world.pass_time(TURN)
    return story


def ending(story: Story) -> tuple[Any, ...]:
    """What a user can see at the end; times and counts aside."""
    truths = {c.type: c.status for c in story.status.conditions}
    return (story.phase, story.stable, story.candidate, story.weights, story.replicas, truths)


def crash(story: Story) -> None:
    """The plan is carried out, the status is not written."""
    story.world.crash_before_status()


def crash_and_forget(story: Story) -> None:
    """The same, and what was resolved is not remembered either."""
    crash(story)
    story.world.resolved = None


FAULTS = (crash, crash_and_forget, Story.loses_status)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("turn", range(0, 40, 3))
def test_a_good_update_ends_the_same_whenever_we_crash(fault: Fault, turn: int) -> None:
    story = good_update(turn, fault)

    assert ending(story) == ending(good_update()) == ending(story.runs("10m"))


@pytest.mark.parametrize("fault", (crash, crash_and_forget))
@pytest.mark.parametrize("turn", range(0, 20, 3))
def test_a_bad_update_ends_the_same_whenever_we_crash(fault: Fault, turn: int) -> None:
    assert ending(bad_update(turn, fault)) == ending(bad_update())


THERE_AND_BACK: tuple[dict[str, Any], ...] = (
    {"runtime": {"sessions": 2}},
    {"runtime": {"batching": {"maxSize": 4}}},
    {"scaling": {"minReplicas": 2}},
    {"acceptance": {"metrics": {"accuracy": {"min": 0.99}}}},
    {"acceptance": {"golden": "Skip"}},
    {"steps": []},
    {"rollout": {"surge": "Replace"}},
    {"rollout": {"analysis": {"confidence": 0}}},
    {"rollout": {"analysis": {"maxErrorRate": 0.001}}},
    {"rollout": {"shadow": {"percent": 50}}},
    {"rollout": {"scaleDownDelay": "0s"}},
    {"rollout": {"historyLimit": 1}},
    {"routing": {"headers": {"x-version": "canary"}}},
    {"paused": True},
)
BEFORE: dict[str, Any] = {
    "runtime": {}, "scaling": {}, "acceptance": {}, "rollout": {}, "routing": {}, "paused": False, "steps": [10, 50],
}  # fmt: skip


@pytest.mark.parametrize("change", THERE_AND_BACK, ids=str)
@pytest.mark.parametrize("between", ["0s", "2s", "2m"])
def test_an_edit_that_is_taken_back_leaves_what_a_fresh_deployment_has(change: dict[str, Any], between: str) -> None:
    story = Story(**BEFORE).serving("v1").edit(**change)
    if between != "0s":
        story.runs(between)

    story.edit(**BEFORE).runs("10m").settle()

    assert ending(story) == ending(Story(**BEFORE).serving("v1"))


@pytest.mark.parametrize("broken", ["GoldenMismatch", "Unreachable"])
def test_every_error_is_left_by_going_back_to_the_spec_of_before(broken: str) -> None:
    story = (
        Story(**BEFORE).serving("v1").fails("v2", broken, "Content" if broken == "GoldenMismatch" else "Environment")
    )

    story.apply("v2").runs("20m").apply("v1").settle()

    assert ending(story) == ending(Story(**BEFORE).serving("v1"))
