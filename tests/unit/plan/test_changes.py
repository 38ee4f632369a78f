"""The user changes their mind in the middle of things."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tidegate.api.runtime import Explain, RequestLogs, Runtime
from tidegate.plan.observed import Failure, FailureClass

from .conftest import Story

Scenario = Callable[..., Story]


def test_a_new_spec_in_mid_rollout_starts_at_step_zero_with_the_new_version(scenario: Scenario) -> None:
    story = scenario(steps=[10, (50, "1h")]).serving("v1").apply("v2").until_weight(50)

    story.apply("v3").settle(4)
    assert story.candidate == "v3"
    assert "v2" not in story.weights
    story.until_weight(10)

    assert story.weights == {"v1": 90, "v3": 10}
    assert story.rejected == []


def test_the_old_candidate_is_stopped_before_the_new_one_starts(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")]).serving("v1").apply("v2").until_weight(50)
    story.world.route_stuck = True

    story.apply("v3").settle()
    assert story.replicas == {"v1": 1, "v2": 1}
    story.world.route_stuck = False
    story.settle()

    assert story.replicas == {"v1": 1, "v3": 1}


def test_a_spec_that_returns_to_stable_ends_the_rollout_and_rejects_nothing(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")]).serving("v1").apply("v2").until_weight(50)

    story.apply("v1").settle()

    assert story.weights == {"v1": 100}
    assert story.rejected == []
    assert story.truth("Promoted") == ("True", "Promoted")
    assert story.apply("v2").settle().candidate == "v2"


def test_a_rollout_holds_while_the_next_bundle_is_being_read(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "10s"), (60, "1m")]).serving("v1").apply("v2").until_weight(50)
    story.apply("v3")
    story.world.resolved = None

    story.turn()

    assert story.hold == "Resolving"
    assert story.weights == {"v1": 50, "v2": 50}


def test_a_spec_that_names_nothing_readable_ends_the_rollout_and_keeps_serving(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")]).serving("v1").apply("v2").until_weight(50).apply("v3")
    story.world.bundles["file:///bundles/v3"] = Failure(FailureClass.CONTENT, "ManifestInvalid", "not a manifest")

    story.settle()

    assert story.weights == {"v1": 100}
    assert story.truth("Stalled") == ("True", "ManifestInvalid")


def test_another_runtime_is_another_revision_of_the_same_bundle(scenario: Scenario) -> None:
    story = scenario(steps=[50]).serving("v1")

    story.edit(runtime={"sessions": 2}).settle()

    assert story.candidate == "v1"
    assert story.told("RolloutStarted") == 2


@pytest.mark.parametrize(
    "change",
    [
        {"scaling": {"minReplicas": 3}},
        {"rollout": {"progressDeadline": "1m"}},
        {"routing": {"headers": {"x-version": "canary"}}},
        {"acceptance": {"golden": "Report"}},
    ],
)
def test_what_is_no_part_of_a_revision_starts_no_rollout(scenario: Scenario, change: dict[str, object]) -> None:
    story = scenario().serving("v1").edit(**change).settle()

    assert story.told("RolloutStarted") == 1
    assert story.truth("Promoted") == ("True", "Promoted")
    assert story.status.observed_generation == 2


def test_a_new_spec_during_the_watch_ends_it_and_there_are_never_three(scenario: Scenario) -> None:
    story = scenario(steps=[50]).serving("v1").apply("v2").until_phase("Watching")

    story.apply("v3").settle()

    assert story.replicas == {"v2": 1, "v3": 1}
    assert story.stable == "v2"


def test_a_spec_that_names_the_warm_version_again_returns_at_once(scenario: Scenario) -> None:
    story = scenario(steps=[50]).serving("v1").apply("v2").until_phase("Watching")

    story.apply("v1").settle()

    assert story.weights == {"v1": 100}
    assert story.rejected == []
    assert story.truth("Promoted") == ("True", "Promoted")


def test_steps_edited_in_mid_rollout_go_on_with_the_first_weight_above(scenario: Scenario) -> None:
    story = scenario(steps=[10, (50, "1h")]).serving("v1").apply("v2").until_weight(50)

    story.edit(steps=[20, 40, (70, "1h")]).runs("2m")

    assert story.weights == {"v1": 30, "v2": 70}


def test_steps_edited_away_leave_only_the_evidence_to_wait_for(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "24h")]).serving("v1").apply("v2").until_weight(50)

    story.edit(steps=[]).runs("5m")

    assert story.stable == "v2"


def test_edited_limits_begin_the_evidence_again(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")]).serving("v1").apply("v2").until_weight(50).runs("5m")

    story.edit(rollout={"analysis": {"maxErrorRate": 0.01}}).settle(2)

    assert story.status.rollout is not None
    assert story.status.rollout.evidence is not None
    assert story.status.rollout.evidence.candidate.requests == 0


def test_s1_s2_s1_faster_than_one_look_changes_nothing(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1")
    before = story.status.model_copy(update={"observed_generation": 0, "conditions": ()})

    story.apply("v2").apply("v1").settle()

    assert story.status.model_copy(update={"observed_generation": 0, "conditions": ()}) == before
    assert story.told("RolloutStarted") == 1


def test_a_settled_deployment_writes_nothing(scenario: Scenario) -> None:
    story = scenario(steps=[50]).serving("v1").apply("v2").until_phase("Watching").until_phase("Serving")
    before, told = story.status, len(story.world.events)

    story.runs("1h")

    assert story.status == before
    assert len(story.world.events) == told
    assert story.plan.look_again is None


def test_the_time_of_a_condition_moves_only_when_it_changes(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1")
    ready, promoted = story.condition("Ready"), story.condition("Promoted")

    story.apply("v2").runs("1m")

    assert story.condition("Ready") is not None and ready is not None and promoted is not None
    after = story.condition("Promoted")
    assert after is not None
    assert story.condition("Ready").last_transition_time == ready.last_transition_time  # type: ignore[union-attr]
    assert after.last_transition_time > promoted.last_transition_time


@pytest.mark.parametrize(
    ("field", "said"),
    [("explain", Runtime(explain=Explain())), ("request_logs", Runtime(request_logs=RequestLogs(audit=True)))],
)
def test_a_runtime_that_says_nothing_of_a_later_field_is_the_revision_that_it_was_before(
    field: str, said: Runtime
) -> None:
    """Names of revisions are hashes of what is written: an upgrade must not make a new one of each."""
    assert field not in Runtime().model_dump(mode="json")
    assert field in said.model_dump(mode="json")
