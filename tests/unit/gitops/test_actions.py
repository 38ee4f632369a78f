"""What becomes of an action: it is offered when it would do something, and the operator does that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.plan.conftest import Story

from tidegate.api.names import GROUP

from .argocd import enabled, offered, patch_of
from .told import deployment

SLOW = [(10, "1h"), 50]
ALWAYS = {"pause"}


def acts(story: Story, action: str) -> Story:
    """Somebody chooses an action in Argo CD; it has to be offered."""
    seen = deployment(story)
    assert action in enabled(seen)
    [(name, value)] = patch_of(action, seen)["metadata"]["annotations"].items()
    story.world.commands[name.removeprefix(f"{GROUP}/")] = value
    return story.settle(1)


def serving(**spec: Any) -> Story:
    return Story(**{"steps": SLOW, **spec}).serving("v1")


def holding() -> Story:
    return serving().apply("v2").until_weight(10)


def watched() -> Story:
    return serving(steps=[]).apply("v2").until_phase("Watching")


def promoted() -> Story:
    return watched().until_phase("Serving")


OFFERED: dict[str, tuple[Callable[[], Story], set[str]]] = {
    "nothing was looked at yet": (Story, set()),
    "a first version serves": (serving, {"restart"}),
    "a candidate is tried": (holding, {"promote", "promote-full", "abort"}),
    "a candidate goes in full": (lambda: acts(holding(), "pause").command("promote-full"), {"promote", "abort", "resume"}),
    "a version was promoted a moment ago": (watched, {"abort", "rollback", "restart"}),
    "a second version serves": (promoted, {"rollback", "restart"}),
    "a version was refused": (
        lambda: serving().fails("v2", "GoldenMismatch").apply("v2").settle(), {"retry", "restart"}),
    "a person rolled back": (
        lambda: acts(promoted(), "rollback").settle().until_phase("Serving"), {"retry", "restart"}),
    "rollouts are paused": (lambda: acts(serving(), "pause"), {"resume", "restart"}),
}  # fmt: skip


@pytest.mark.parametrize("name", OFFERED)
def test_what_would_change_something_is_offered(name: str) -> None:
    tell, expected = OFFERED[name]
    story = tell()

    pauses = set() if story.status.paused else ALWAYS
    assert enabled(deployment(story)) == expected | pauses


def test_promote_ends_a_step() -> None:
    assert acts(holding(), "promote").until_weight(50, within="5m").step == 2


def test_a_promote_that_was_meant_for_one_step_does_not_end_the_next() -> None:
    story = Story(steps=[(10, "manual"), (50, "manual")]).serving("v1").apply("v2").until_weight(10)
    late = patch_of("promote", deployment(story))["metadata"]["annotations"]
    acts(story, "promote").until_weight(50, within="5m")

    story.world.commands |= {name.removeprefix(f"{GROUP}/"): f"{value[:-1]}.5Z" for name, value in late.items()}

    assert story.settle().step == 2
    assert story.told("CommandIgnored") == 1


def test_promote_full_gives_everything() -> None:
    acts(holding(), "promote-full").until_phase("Watching", within="5m")


def test_abort_sends_the_candidate_back() -> None:
    assert acts(holding(), "abort").weights == {"v1": 100}


def test_abort_after_a_promotion_returns_to_the_version_that_is_warm() -> None:
    assert acts(watched(), "abort").settle().stable == "v1"


def test_retry_tries_again() -> None:
    story = serving().fails("v2", "GoldenMismatch").apply("v2").settle()

    assert acts(story.servers_of("v2", failure=None), "retry").until_weight(10).rejected == []


def test_pause_and_resume() -> None:
    story = acts(holding(), "pause")
    assert story.status.paused

    assert not acts(story, "resume").status.paused


def test_rollback_names_the_version_and_returns_to_it() -> None:
    story = promoted()
    assert offered(deployment(story))["rollback"]["displayName"] == "Roll back to v1"

    assert acts(story, "rollback").settle().until_phase("Serving").stable == "v1"


def test_restart_is_a_canary_of_the_same_version() -> None:
    story = serving()
    before = story.status.stable

    acts(story, "restart").until_phase("Watching", within="2h")

    assert before and story.status.stable
    assert story.stable == "v1"
    assert story.status.stable.revision != before.revision


def test_retry_speaks_of_the_version_that_a_person_wants_back() -> None:
    story = promoted().edit(rollout={"surge": "Replace"}).settle()
    acts(story, "rollback").settle()
    assert story.truth("Stalled") == ("True", "GPUUnavailable")

    seen = deployment(story)

    assert "retry" in enabled(seen)
    assert patch_of("retry", seen)["metadata"]["annotations"][f"{GROUP}/retry"].startswith(f"{story.revision('v1')}@")
