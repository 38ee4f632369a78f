"""Few servers, no spare GPU, no gateway, nobody there: what the platform cannot do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidegate.plan.observed import Failure, FailureClass
from tidegate.plan.replicas import Capacity

from .conftest import Story

Scenario = Callable[..., Story]


def test_a_dead_stable_version_gives_way_to_a_proved_candidate(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")]).serving("v1").apply("v2").until_weight(10)

    story.servers_of("v1", ready=0).runs("20s")
    assert story.weights == {"v1": 90, "v2": 10}
    story.runs("20s")

    assert story.weights == {"v2": 100}
    assert story.told("StableLost") == 1


def test_a_stable_version_that_comes_back_in_time_keeps_its_place(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")]).serving("v1").apply("v2").until_weight(10)

    story.servers_of("v1", ready=0).runs("20s").servers_of("v1", ready=None).runs("2m")

    assert story.weights == {"v1": 90, "v2": 10}


def test_nobody_goes_back_to_a_dead_stable_version(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")]).serving("v1").apply("v2").until_weight(50)

    story.servers_of("v1", ready=0).servers_of("v2", errors=0.5).runs("2m")

    assert story.stable == "v2"


def test_a_new_spec_does_not_take_the_weight_of_a_candidate_that_alone_is_alive(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")]).serving("v1").apply("v2").until_weight(50)

    story.servers_of("v1", ready=0).apply("v3").settle()
    assert story.weights == {"v1": 50, "v2": 50}
    story.runs("2m")

    assert story.stable == "v2"
    assert story.candidate == "v3"


def test_a_candidate_in_place_of_a_dead_stable_version_needs_a_ready_server_too(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")]).serving("v1").apply("v2").until_weight(50)
    story.servers_of("v1", ready=0).servers_of("v2", ready=0).runs("2m")
    assert story.stable == "v1"

    story.servers_of("v2", ready=None).settle()

    assert story.weights == {"v2": 100}


def test_with_a_plain_service_the_first_weight_is_what_one_server_makes(scenario: Scenario) -> None:
    story = scenario(steps=[10, 20, (50, "1h")], scaling={"minReplicas": 3})
    story.world.exact_weights = False
    story.serving("v1")

    story.apply("v2").settle()

    assert story.told("WeightNotReachable") == 1
    story.until_weight(50)
    assert story.replicas == {"v1": 3, "v2": 3}
    assert story.step == 1


def test_with_a_plain_service_a_gate_above_one_half_is_kept_at_one_half(scenario: Scenario) -> None:
    steps = [25, (75, "manual"), (90, "1h")]
    story = scenario(steps=steps, scaling={"minReplicas": 3})
    story.world.exact_weights = False
    story.serving("v1")

    story.apply("v2").until_weight(50).runs("3h")

    assert story.replicas == {"v1": 3, "v2": 3}
    assert (story.hold, story.told("WeightNotReachable")) == ("WaitingForPromote", 1)
    assert "75 %, 90 %: 50 % instead" in next(
        event.message for event in story.world.events if event.reason == "WeightNotReachable"
    )
    assert story.command("promote").settle().stable == "v2"


def test_of_steps_that_come_to_one_weight_the_longest_counts(scenario: Scenario) -> None:
    story = scenario(steps=[(60, "2m"), (70, "1h"), (90, "1m")], scaling={"minReplicas": 3})
    story.world.exact_weights = False
    story.serving("v1")

    story.apply("v2").until_weight(50)

    assert story.runs("50m").hold == "StepHold"
    assert story.runs("15m").stable == "v2"


def test_replace_needs_a_word_about_downtime_when_there_is_one_server(scenario: Scenario) -> None:
    story = scenario(rollout={"surge": "Replace"}).serving("v1").apply("v2").settle()

    assert story.rejected == [("Environment", "GPUUnavailable")]
    assert story.replicas == {"v1": 1}


def test_replace_of_a_single_server_stops_the_old_one_first(scenario: Scenario) -> None:
    story = scenario(rollout={"surge": "Replace", "allowDowntime": True}, steps=[50]).serving("v1")

    story.apply("v2").settle()

    assert story.stable == "v2"
    assert story.replicas == {"v2": 1}
    assert all(len([w for w in plan.revisions if w.max_replicas]) <= 1 for plan in story.world.plans)


def test_replace_moves_server_by_server(scenario: Scenario) -> None:
    story = scenario(rollout={"surge": "Replace"}, steps=[10, 50], scaling={"minReplicas": 4}).serving("v1")

    story.apply("v2").until_weight(25)
    assert story.replicas == {"v1": 3, "v2": 1}
    story.until_weight(50)
    assert story.replicas == {"v1": 2, "v2": 2}
    story.until(lambda story: story.stable == "v2")

    assert story.phase == "Serving"
    assert story.settle().replicas == {"v2": 4}


def test_an_idle_deployment_is_woken_once_and_switched(scenario: Scenario) -> None:
    scaling = {"minReplicas": 0, "maxReplicas": 4, "provider": "KEDA"}
    story = scenario(steps=[10, 50], scaling=scaling).serving("v1")
    story.world.idle = True
    story.settle().apply("v2").settle()

    assert story.stable == "v2"
    assert {0, 100} >= {weight for plan in story.world.plans for weight in plan.weights.values()}


def test_a_deployment_that_was_scaled_to_zero_is_ready_unless_its_servers_fail(scenario: Scenario) -> None:
    scaling = {"minReplicas": 0, "maxReplicas": 4, "provider": "KEDA"}
    story = scenario(scaling=scaling).serving("v1")
    story.world.idle = True
    story.world.refresh_servers()
    assert story.settle().truth("Ready") == ("True", "ScaledToZero")
    assert story.truth("Degraded") == ("False", "AsExpected")

    story.fails("v1", "QuotaExceeded", "Environment").settle()

    assert story.truth("Ready") == ("False", "QuotaExceeded")


@pytest.mark.parametrize(
    ("capacity", "weight", "needed"),
    [
        (Capacity(10), 0, 0),
        (Capacity(10), 1, 1),
        (Capacity(10), 11, 2),
        (Capacity(10), 100, 10),
        (Capacity(1), 50, 1),
        (Capacity(4, exact=False), 50, 4),
        (Capacity(9, exact=False), 10, 1),
        (Capacity(4, exact=False), 90, 4),
        (Capacity(4, exact=False), 100, 4),
        (Capacity(4, replace=True), 25, 1),
        (Capacity(4, replace=True), 100, 3),
        (Capacity(1, replace=True), 100, 1),
    ],
)
def test_servers_that_a_weight_needs(capacity: Capacity, weight: int, needed: int) -> None:
    assert capacity.candidate_needs(weight) == needed


@pytest.mark.parametrize(
    ("capacity", "steps", "ladder"),
    [
        (Capacity(1), [10, 50], (10, 50, 100)),
        (Capacity(1), [], (100,)),
        (Capacity(1, exact=False), [10, 50], (50, 100)),
        (Capacity(3, exact=False), [10, 25, 50], (25, 50, 100)),
        (Capacity(3, exact=False), [40, 51, 90], (40, 50, 100)),
        (Capacity(3, exact=False), [90], (50, 100)),
        (Capacity(2, replace=True), [10, 50, 60], (50, 100)),
        (Capacity(3, replace=True), [10, 50], (33, 66, 100)),
    ],
)
def test_weights_that_exist(capacity: Capacity, steps: list[int], ladder: tuple[int, ...]) -> None:
    assert capacity.ladder(steps) == ladder


def test_a_device_is_shown_as_it_is(scenario: Scenario) -> None:
    story = scenario().serving("v1")

    assert story.status.stable is not None
    assert story.status.stable.device == "cpu"


def spec_minimum(**scaling: Any) -> dict[str, Any]:
    return {"scaling": scaling}


def test_the_stable_version_is_pinned_at_its_live_count_while_a_rollout_runs(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")], **spec_minimum(minReplicas=1, maxReplicas=8)).serving("v1")
    story.world.extra_servers = 6
    story.settle().apply("v2").until_weight(10)

    wanted = {w.record.resolution.version: (w.replicas, w.max_replicas) for w in story.plan.revisions}
    assert wanted == {"v1": (6, 8), "v2": (1, 1)}


def test_a_stable_version_with_too_few_servers_is_degraded(scenario: Scenario) -> None:
    story = scenario(scaling={"minReplicas": 3}).serving("v1").servers_of("v1", ready=1).settle()

    assert story.truth("Ready") == ("True", "Serving")
    assert story.truth("Degraded") == ("True", "StableNotReady")


def test_why_servers_of_the_stable_version_are_missing_is_told(scenario: Scenario) -> None:
    story = scenario(scaling={"minReplicas": 3}).serving("v1")

    story.fails("v1", "NotFound", "Environment").settle()

    degraded = story.condition("Degraded")
    assert degraded is not None
    assert (degraded.reason, degraded.message) == ("StableNotReady", "0 of 3 servers ready: v1: NotFound")


def test_what_is_refused_beside_the_servers_degrades_and_stops_nothing(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1")
    story.world.obstacle = Failure(FailureClass.ENVIRONMENT, "QuotaExceeded", "no room for a budget: raise the quota")

    story.apply("v2").settle()

    assert story.truth("Degraded") == ("True", "QuotaExceeded")
    assert story.stable == "v2"


def test_a_stable_version_that_is_down_says_why(scenario: Scenario) -> None:
    story = scenario().serving("v1").fails("v1", "CrashLoop", "Environment").settle()

    assert story.truth("Ready") == ("False", "CrashLoop")


def test_with_a_plain_service_clients_that_stay_where_they_are_hold_nothing_up(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1m")], scaling={"minReplicas": 2})
    story.world.exact_weights = False
    story.serving("v1")
    story.world.ignores_weights = True

    story.apply("v2").until_weight(50).runs("20s")

    assert story.status.rollout is not None
    assert story.status.rollout.hold_reason == "StepHold"
    assert story.status.candidate is not None
    assert story.status.candidate.realised_weight == 50.0


def test_with_a_plain_service_no_autoscaler_changes_the_shares_while_steps_run(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1m")], scaling={"minReplicas": 2, "maxReplicas": 8})
    story.world.exact_weights = False
    story.serving("v1")
    assert [wanted.max_replicas for wanted in story.world.plans[-1].revisions] == [8]

    story.apply("v2").until_weight(50)

    assert {(wanted.replicas, wanted.max_replicas) for wanted in story.world.plans[-1].revisions} == {(2, 2)}
    story.until(lambda story: story.stable == "v2").settle()
    assert [w.max_replicas for w in story.world.plans[-1].revisions if w.record.resolution.version == "v2"] == [8]


def test_with_a_plain_service_a_candidate_without_ready_servers_has_no_share(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")], scaling={"minReplicas": 2})
    story.world.exact_weights = False
    story.serving("v1").apply("v2").until_weight(50)

    story.servers_of("v2", ready=0).settle()

    assert story.status.candidate is not None
    assert story.status.candidate.realised_weight == 0.0
