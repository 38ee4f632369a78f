"""Traffic that says nothing, says the same of both versions, or is only compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .conftest import Story

Scenario = Callable[..., Story]


def test_a_model_without_users_is_updated_by_its_golden_samples(scenario: Scenario) -> None:
    story = scenario(steps=[10, 50])
    story.world.rate = 0
    story.serving("v1")

    story.apply("v2").until_weight(10).runs("30s")
    assert story.plan.synthetic == {story.revision("v2"): 1.0}
    story.until_phase("Watching", within="20m")

    assert story.stable == "v2"
    assert story.told("DeadlinePromotes") == 0


def test_golden_samples_that_fail_hold_a_model_without_users_and_the_deadline_rolls_back(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").servers_of("v2", golden_fails=True)
    story.world.rate = 0

    story.apply("v2").until_weight(10).runs("5m")
    assert story.hold == "SyntheticFailing"
    story.until(lambda story: bool(story.rejected))

    assert story.rejected == [("Environment", "DeadlineExceeded")]
    assert story.stable == "v1"


def test_a_model_without_users_and_samples_is_updated_too(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "0s")]).knows("v2", has_golden=False)
    story.world.rate = 0
    story.serving("v1")

    story.apply("v2").until(lambda story: story.hold == "NoTraffic").until_phase("Watching", within="10m")

    assert all(not plan.synthetic for plan in story.world.plans)


def test_golden_samples_are_awaited_where_there_are_some(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "10s")]).serving("v1").servers_of("v2", golden_silent=True)
    story.world.rate = 0

    story.apply("v2").until_phase("Holding").runs("5m")

    assert story.hold == "NoTraffic"


def test_counters_that_cannot_be_read_are_no_silence(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "0s")]).serving("v1")
    story.world.unreadable = True

    story.apply("v2").runs("20m")
    assert story.hold == "EvidenceMissing"
    assert story.weights == {"v1": 90, "v2": 10}
    story.until(lambda story: bool(story.rejected))

    assert story.rejected == [("Environment", "DeadlineExceeded")]


def test_comparisons_that_cannot_be_read_are_no_silence_either(scenario: Scenario) -> None:
    story = shadowed(scenario)
    story.world.unreadable = True

    story.apply("v2").runs("20m")

    assert story.hold == "EvidenceMissing"
    assert story.weights == {"v1": 100}


def outage(story: Story, errors: float) -> Story:
    return story.servers_of("v1", errors=errors).servers_of("v2", errors=errors)


def test_a_shared_outage_holds_at_the_last_lower_weight_and_goes_on_after_it(scenario: Scenario) -> None:
    story = scenario(steps=[10, (50, "10m")]).serving("v1").apply("v2").until_weight(50).runs("3m")

    outage(story, 0.5).until(lambda story: story.hold == "SharedDegradation", within="10m")
    assert story.settle().weights == {"v1": 90, "v2": 10}
    assert story.truth("Degraded") == ("True", "SharedDegradation")
    outage(story, 0.0).until(lambda story: story.weights == {"v1": 50, "v2": 50})

    assert story.rejected == []


def test_a_shared_outage_without_end_is_decided_by_the_deadline(scenario: Scenario) -> None:
    story = scenario(steps=[10, (50, "10m")]).serving("v1").apply("v2").until_weight(50).runs("3m")

    outage(story, 0.5).until(lambda story: bool(story.rejected), within="2h")

    assert story.rejected == [("Environment", "DeadlineExceeded")]
    assert "SharedDegradation" in story.rejection().message


DIVERGENCE = {"maxDivergence": {"top1Disagreement": 0.02}}


def shadowed(scenario: Scenario, **rollout: Any) -> Story:
    return scenario(steps=[], rollout={"analysis": DIVERGENCE, "shadow": {"percent": 20}, **rollout}).serving("v1")


def test_without_steps_a_shadowed_candidate_is_compared_before_it_gets_everything(scenario: Scenario) -> None:
    story = shadowed(scenario).apply("v2").runs("1m")
    assert story.hold == "Undecided"
    assert story.weights == {"v1": 100}
    assert story.plan.shadow is not None
    assert (story.plan.shadow.source, story.plan.shadow.target) == (story.revision("v1"), story.revision("v2"))
    assert story.plan.shadow.percent == 20

    story.until(lambda story: story.stable == "v2", within="20m")

    assert {weight for plan in story.world.plans for weight in plan.weights.values()} == {0, 100}
    assert story.plan.shadow is None


def test_a_candidate_that_answers_differently_never_gets_a_request(scenario: Scenario) -> None:
    story = shadowed(scenario).servers_of("v2", differs=0.3)

    story.apply("v2").until(lambda story: bool(story.rejected), within="10m").settle()

    assert story.rejected == [("Content", "DivergenceExceeded")]
    assert story.weights == {"v1": 100}


def test_shadowing_without_traffic_ends_by_itself(scenario: Scenario) -> None:
    story = shadowed(scenario)
    story.world.rate = 0

    story.apply("v2").until(lambda story: story.stable == "v2", within="10m")


def test_without_steps_and_shadow_everything_moves_at_once(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1").apply("v2").settle()

    assert story.weights == {"v2": 100}
    assert story.phase == "Watching"


def test_divergence_limits_sample_requests_even_without_a_shadow(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")], rollout={"analysis": DIVERGENCE}).serving("v1").apply("v2").until_weight(50)

    assert story.plan.shadow is not None
    assert story.plan.shadow.percent == 10
    assert story.plan.shadow.rules == story.world.spec.rollout.analysis.max_divergence


def test_promote_passes_the_comparison_too(scenario: Scenario) -> None:
    story = shadowed(scenario).apply("v2").runs("30s").command("promote", step=0).settle()

    assert story.stable == "v2"


def test_the_header_pins_to_the_candidate_as_long_as_it_is_ready(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")]).serving("v1")
    assert story.plan.pin is None
    story.servers_of("v2", ready=0).apply("v2").settle()
    assert story.plan.pin is None

    story.servers_of("v2", ready=None).settle()

    assert story.plan.pin == story.revision("v2")


def test_the_status_shows_figures_and_checks_of_both_versions(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")], rollout={"analysis": DIVERGENCE}).serving("v1")
    outage(story, 0.002).apply("v2").until_weight(10).runs("10m")

    rollout = story.status.rollout
    assert rollout is not None and rollout.measurements is not None
    assert rollout.measurements.candidate.requests > 1000
    assert rollout.measurements.stable.rps == 45.0
    assert rollout.measurements.candidate.divergence == 0.0
    assert [check.name for check in rollout.checks] == ["errors", "errorsIncrease", "top1"]
    assert story.status.candidate is not None
    assert story.status.candidate.realised_weight == 10.0
