"""What a rollout waits for: people, servers, the route, time and requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from .conftest import Story

Scenario = Callable[..., Story]


def test_a_candidate_without_ready_servers_never_gets_weight(scenario: Scenario) -> None:
    story = scenario(steps=[10, 50]).serving("v1").servers_of("v2", ready=0)

    story.apply("v2").runs("10m")

    assert story.weights == {"v1": 100}
    assert story.truth("Reconciling") == ("True", "CandidateNotReady")


def test_a_manual_hold_waits_for_promote_and_not_for_the_deadline(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "manual")]).serving("v1")
    story.apply("v2").until_weight(10).runs("40m")
    assert story.hold == "WaitingForPromote"

    story.command("promote").until_phase("Watching", within="5m")

    assert story.stable == "v2"
    assert story.told("DeadlinePromotes") == 0


def test_promote_passes_one_manual_gate_only(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "manual"), (50, "manual")]).serving("v1")
    story.apply("v2").until_weight(10).command("promote")

    story.runs("20m")

    assert story.weights == {"v1": 50, "v2": 50}
    assert story.hold == "WaitingForPromote"


def test_promote_of_a_step_that_is_over_is_ignored(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "manual"), (50, "manual")]).serving("v1")
    story.apply("v2").until_weight(10).command("promote", step=1).until_weight(50)

    story.command("promote", step=1).runs("5m")

    assert story.weights == {"v1": 50, "v2": 50}
    assert story.told("CommandIgnored") == 1


def test_promote_ends_a_timed_hold(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "24h"), (50, "24h")]).serving("v1")
    story.apply("v2").until_weight(10)

    story.command("promote").runs("1m")

    assert story.weights == {"v1": 50, "v2": 50}


def test_promote_full_takes_no_further_steps(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "24h"), (20, "manual"), (50, "24h")]).serving("v1")
    story.apply("v2").until_weight(10)

    story.command("promote-full").runs("1m")

    assert story.stable == "v2"
    assert {20, 50}.isdisjoint(weight for plan in story.world.plans for weight in plan.weights.values())


def test_a_step_lasts_its_hold_from_the_time_the_split_is_seen(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "2m"), (50, "1m")]).serving("v1")
    story.apply("v2").until_weight(10)

    assert story.runs("1m").hold == "StepHold"
    assert story.runs("30s").weights == {"v1": 90, "v2": 10}
    assert story.runs("40s").weights == {"v1": 50, "v2": 50}


def test_the_dwell_time_starts_only_when_the_counters_show_the_split(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1m")]).serving("v1")
    story.world.ignores_weights = True

    story.apply("v2").runs("3m")

    assert story.phase == "Shifting"
    assert story.hold == "WeightIgnored"


def test_a_route_that_ignores_weights_ends_the_rollout_at_the_progress_deadline(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1m")], rollout={"progressDeadline": "5m"}).serving("v1")
    story.world.ignores_weights = True

    story.apply("v2").until(lambda story: bool(story.rejected), within="10m").settle(1)

    assert story.rejected == [("Environment", "WeightIgnored")]
    assert story.weights == {"v1": 100}


def test_a_gateway_that_gives_every_version_the_same_heeds_no_weight(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1m"), (30, "1m")]).serving("v1")
    story.world.splits_evenly = True

    story.apply("v2").runs("3m")

    assert (story.phase, story.hold) == ("Shifting", "WeightIgnored")
    assert story.weights == {"v1": 90, "v2": 10}
    assert story.truth("RouteReady") == ("False", "WeightIgnored")


def test_when_the_gateway_heeds_the_weight_after_all_the_step_begins(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")]).serving("v1")
    story.world.splits_evenly = True
    story.apply("v2").until(lambda one: one.hold == "WeightIgnored", within="5m").runs("5m")

    story.world.splits_evenly = False
    story.runs("2m")

    assert (story.phase, story.hold) == ("Holding", "StepHold")
    assert story.truth("RouteReady") == ("True", "Accepted")


@pytest.mark.parametrize("hold", ["1h", "manual"])
def test_a_weight_that_was_seen_and_is_ignored_afterwards_lets_no_step_pass(scenario: Scenario, hold: str) -> None:
    story = scenario(steps=[(10, hold), (30, "1m")], rollout={"progressDeadline": "20m"}).serving("v1")
    story.apply("v2").until_phase("Holding").runs("10s")
    began = story.world.now

    story.world.splits_evenly = True
    story.until(lambda one: one.hold == "WeightIgnored", within="5m")
    assert (story.phase, story.truth("RouteReady")) == ("Holding", ("False", "WeightIgnored"))

    story.until(lambda one: bool(one.rejected), within="1h")
    assert story.rejected == [("Environment", "WeightIgnored")]
    assert story.world.now - began < timedelta(minutes=30)


def test_servers_that_are_not_counted_yet_are_no_sign_of_an_ignored_weight(scenario: Scenario) -> None:
    """Their warm-up is left out of the counts, and the stable version's requests of that time are not."""
    story = scenario(steps=[(50, "1m")], rollout={"analysis": {"warmup": "1m"}}).serving("v1").runs("5m")
    story.world.rate = 500.0

    story.apply("v2").until_phase("Watching", within="1h")

    assert "WeightIgnored" not in {plan.status.rollout.hold_reason for plan in story.world.plans if plan.status.rollout}


def test_after_a_time_in_which_nobody_looked_the_counts_of_before_the_step_are_left_out(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1m"), (50, "1h")]).serving("v1")
    story.world.rate = 1000.0
    story.apply("v2").until_weight(10).until_phase("Holding").until_phase("Shifting")
    assert story.weights == {"v1": 50, "v2": 50}

    story.world.rate = 10.0
    story.world.pass_time(timedelta(minutes=10))
    story.turn()

    assert (story.phase, story.hold) == ("Holding", "StepHold")


def test_a_route_that_is_not_accepted_holds_the_rollout(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1")
    story.apply("v2").until_phase("Shifting")
    story.world.route_accepted = False

    story.runs("2m")

    assert story.hold == "RouteNotReady"
    assert story.truth("RouteReady") == ("False", "RouteNotReady")


def test_too_few_requests_are_no_verdict(scenario: Scenario) -> None:
    story = scenario(steps=[10, 50]).serving("v1")
    story.world.rate = 0.2

    story.apply("v2").until_weight(10).runs("5m")

    assert story.hold == "TooFewRequests"
    assert story.weights == {"v1": 90, "v2": 10}


def test_evidence_must_pass_once_before_100_percent(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "0s")]).serving("v1")
    story.world.rate = 4

    story.apply("v2").until_weight(50).runs("40s")

    assert story.hold == "Undecided"
    assert story.until_phase("Watching").stable == "v2"


def test_the_deadline_promotes_a_healthy_but_undecided_candidate_without_a_jump(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1m"), (50, "1m")], rollout={"analysis": {"deadline": "10m"}}).serving("v1")
    story.world.rate = 0.2

    story.apply("v2").until_phase("Watching", within="20m")

    assert story.told("DeadlinePromotes") == 1
    assert 50 in {weight for plan in story.world.plans for weight in plan.weights.values()}


def test_the_deadline_rolls_back_when_it_is_told_to(scenario: Scenario) -> None:
    analysis = {"deadline": "10m", "onInconclusive": "Rollback"}
    story = scenario(steps=[10, 50], rollout={"analysis": analysis}).serving("v1")
    story.world.rate = 0.2

    story.apply("v2").runs("12m")

    assert story.rejected[0] == ("Environment", "DeadlineExceeded")
    assert story.stable == "v1"


def test_the_deadline_decides_nothing_when_it_is_told_to_wait(scenario: Scenario) -> None:
    analysis = {"deadline": "10m", "onInconclusive": "Wait"}
    story = scenario(steps=[10, 50], rollout={"analysis": analysis}).serving("v1")
    story.world.rate = 0.2

    story.apply("v2").runs("30m")

    assert story.hold == "TooFewRequests"
    assert story.weights == {"v1": 90, "v2": 10}


def test_awaited_servers_have_a_deadline_and_the_rollout_comes_back_later(scenario: Scenario) -> None:
    story = scenario(steps=[10], rollout={"progressDeadline": "5m"}).serving("v1").servers_of("v2", ready=0)
    story.apply("v2").until(lambda story: bool(story.rejected), within="6m")
    assert story.rejected == [("Environment", "CandidateNotReady")]
    assert story.truth("Stalled") == ("True", "CandidateNotReady")

    story.servers_of("v2", ready=None).until_phase("Watching")

    assert story.stable == "v2"


def test_the_candidate_gets_its_share_of_the_live_servers_before_each_weight(scenario: Scenario) -> None:
    scaling = {"minReplicas": 2, "maxReplicas": 10}
    story = scenario(steps=[10, 50], scaling=scaling).serving("v1")
    story.world.extra_servers = 10
    story.settle()

    story.apply("v2").until_weight(10)
    assert story.replicas == {"v1": 10, "v2": 1}
    story.until_weight(50)
    assert story.replicas == {"v1": 10, "v2": 5}
    story.until_phase("Watching")

    assert story.replicas == {"v1": 10, "v2": 10}


def test_a_candidate_that_loses_servers_is_held_at_a_weight_that_it_can_bear(scenario: Scenario) -> None:
    story = scenario(steps=[10, 50], scaling={"minReplicas": 4}).serving("v1")
    story.apply("v2").until_weight(50)

    story.servers_of("v2", ready=1).settle()
    assert story.weights == {"v1": 90, "v2": 10}
    assert story.hold == "CandidateNotReady"
    story.servers_of("v2", ready=0).settle()
    assert story.weights == {"v1": 100}
    story.servers_of("v2", ready=None).until_weight(50)

    assert story.step == 2


def test_a_candidate_grows_with_the_stable_version_before_its_next_weight_and_loses_none_for_it(
    scenario: Scenario,
) -> None:
    story = scenario(steps=[(50, "manual")], scaling={"minReplicas": 2, "maxReplicas": 10}).serving("v1")
    story.apply("v2").until_weight(50)
    assert story.replicas == {"v1": 2, "v2": 1}

    stable = story.revision("v1")
    story.world.servers[stable] = replace(story.world.servers[stable], replicas=6, ready=6)
    plan = story.turn()

    assert {one.record.resolution.version: one.replicas for one in plan.revisions} == {"v1": 2, "v2": 3}
    assert story.weights == {"v1": 50, "v2": 50}


def test_a_route_that_is_not_taken_any_more_lets_no_step_pass(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1m"), (50, "1m")]).serving("v1")
    story.apply("v2").until_phase("Holding")

    story.world.route_accepted = False
    story.runs("5m")

    assert story.weights == {"v1": 90, "v2": 10}
    assert (story.hold, story.truth("RouteReady")) == ("RouteNotReady", ("False", "RouteNotReady"))


def test_a_change_that_the_gateway_has_had_no_time_to_take_changes_no_condition(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1m")]).serving("v1")
    story.apply("v2").until_phase("Holding")
    before = story.condition("RouteReady")

    story.world.route_accepted, story.world.route_pending = False, True
    story.settle()

    assert story.condition("RouteReady") == before
    assert story.hold != "RouteNotReady"


def test_an_ignored_weight_is_told_with_the_share_that_was_seen(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1m")]).serving("v1")
    story.world.ignores_weights = True

    story.apply("v2").until(lambda one: one.hold == "WeightIgnored", within="10m")

    assert story.status.rollout is not None
    assert "reached the new version: does the gateway heed weights" in story.status.rollout.hold_message


def test_counts_of_before_the_step_do_not_speak_against_its_weight(scenario: Scenario) -> None:
    story = scenario(steps=[(5, "1m"), (50, "1m")]).serving("v1")
    story.world.rate = 1000.0
    story.apply("v2").until_phase("Watching", within="1h")

    held = {plan.status.rollout.hold_reason for plan in story.world.plans if plan.status.rollout}

    assert "WeightIgnored" not in held
