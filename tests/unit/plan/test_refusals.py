"""What is refused before any request reaches it, and when it is tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidegate.plan.observed import Failure, FailureClass

from .conftest import Story
from .world import OTHER

Scenario = Callable[..., Story]


def unreachable(story: Story, version: str) -> None:
    story.world.bundles[f"file:///bundles/{version}"] = Failure(FailureClass.ENVIRONMENT, "Unreachable", "no answer")


@pytest.mark.parametrize("reason", ["GoldenMismatch", "DigestMismatch", "ModelInvalid"])
def test_a_version_whose_servers_refuse_it_never_gets_a_request(scenario: Scenario, reason: str) -> None:
    story = scenario(steps=[10]).serving("v1").fails("v2", reason)

    story.apply("v2").runs("2h")

    assert story.weights == {"v1": 100}
    assert story.rejected == [("Content", reason)]
    assert story.truth("Stalled") == ("True", reason)
    assert story.truth("Promoted") == ("False", reason)
    assert story.truth("BundleVerified") == ("False", reason)
    assert story.truth("Ready") == ("True", "Serving")
    assert story.told("RolloutStarted") == 2


def test_a_bundle_that_cannot_be_verified_never_starts_a_server(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").apply("v2")
    story.world.bundles["file:///bundles/v2"] = Failure(FailureClass.CONTENT, "SignatureInvalid", "another key")

    story.runs("2h")

    assert story.replicas == {"v1": 1}
    assert story.rejected == [("Content", "SignatureInvalid")]
    assert story.truth("BundleVerified") == ("False", "SignatureInvalid")
    assert story.told("SignatureInvalid") == 1


def test_an_unreachable_store_is_asked_again_with_growing_pauses(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").apply("v2")
    unreachable(story, "v2")

    story.runs("20m")
    attempts = story.rejection().attempts
    assert story.rejected == [("Environment", "Unreachable")]
    assert 4 <= attempts <= 5  # after 0, 1, 3, 7, 15 minutes

    story.knows("v2").until_phase("Watching", within="1h")

    assert story.stable == "v2"
    assert story.rejected == [("Environment", "Unreachable")]


def test_what_was_missing_is_tried_at_once_when_it_changes(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").apply("v2")
    unreachable(story, "v2")
    story.runs("20m").knows("v2")

    story.world.environment = "other credentials"
    story.settle()

    assert story.candidate == "v2"


def test_retry_forgets_a_refusal(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").fails("v2", "GoldenMismatch")
    story.apply("v2").settle().servers_of("v2", failure=None)

    story.command("retry").until_phase("Watching")

    assert story.stable == "v2"


def test_retry_asks_the_store_again(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").apply("v2")
    unreachable(story, "v2")
    story.runs("20m").knows("v2")

    story.command("retry").settle()

    assert story.candidate == "v2"


def test_the_next_version_is_tried_after_a_refused_one(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").fails("v2", "GoldenMismatch").apply("v2").settle()

    story.apply("v3").until_phase("Watching")

    assert story.stable == "v3"


def test_other_acceptance_rules_give_another_chance(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").fails("v2", "GoldenMismatch").apply("v2").settle()

    story.servers_of("v2", failure=None).edit(acceptance={"golden": "Report"}).settle()

    assert story.candidate == "v2"
    assert {w.golden for w in story.plan.revisions} == {"Report"}


def test_metrics_below_their_bound_are_refused_without_a_server(scenario: Scenario) -> None:
    story = scenario(acceptance={"metrics": {"accuracy": {"min": 0.85}}}).serving("v1")
    story.knows("v2", metrics={"accuracy": 0.8})

    story.apply("v2").runs("1m")

    assert story.rejected == [("Content", "MetricBelowBound")]
    assert story.replicas == {"v1": 1}
    assert "0.8, at least 0.85" in story.rejection().message


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [({"max": 0.85}, "MetricAboveBound"), ({"min": 0.1, "max": 1}, None)],
)
def test_metrics_have_an_upper_bound_too(scenario: Scenario, bounds: dict[str, float], reason: str | None) -> None:
    story = scenario(acceptance={"metrics": {"accuracy": bounds}}).settle()

    assert [why for _, why in story.rejected] == ([reason] if reason else [])


def test_a_metric_that_the_bundle_does_not_record_is_refused(scenario: Scenario) -> None:
    story = scenario(acceptance={"metrics": {"f1": {"min": 0.85}}}).settle()

    assert story.rejected == [("Content", "MetricMissing")]
    assert story.truth("Ready") == ("False", "MetricMissing")


def test_not_a_number_is_within_no_bound(scenario: Scenario) -> None:
    story = scenario(acceptance={"metrics": {"accuracy": {"min": 0.1}}}).knows("v1", metrics={"accuracy": float("nan")})

    assert story.settle().rejected == [("Content", "MetricBelowBound")]


def test_required_golden_samples_must_be_there(scenario: Scenario) -> None:
    story = scenario(acceptance={"golden": "Require"}).knows("v1", has_golden=False).settle()

    assert story.rejected == [("Content", "GoldenMissing")]


def test_golden_samples_are_required_wherever_there_are_some(scenario: Scenario) -> None:
    with_samples = scenario().settle()
    without = scenario().knows("v1", has_golden=False).settle()

    assert [w.golden for w in with_samples.plan.revisions] == ["Require"]
    assert [w.golden for w in without.plan.revisions] == ["Skip"]


def test_another_interface_than_the_stable_version_is_refused(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").knows("v2", interface=OTHER)

    story.apply("v2").settle()

    assert story.rejected == [("Content", "InterfaceChanged")]
    assert story.replicas == {"v1": 1}


def test_other_labels_are_another_interface(scenario: Scenario) -> None:
    story = scenario(steps=[10]).knows("v1", labels=("cat", "dog")).serving("v1")

    story.knows("v2", labels=("dog", "cat")).apply("v2").settle()

    assert story.rejected == [("Content", "InterfaceChanged")]


def test_an_interface_change_may_be_allowed(scenario: Scenario) -> None:
    story = scenario(steps=[10], acceptance={"interfaceChange": "Allow"}).serving("v1").knows("v2", interface=OTHER)

    assert story.apply("v2").until_phase("Watching").stable == "v2"


def test_rules_that_are_tightened_in_mid_rollout_end_it(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")]).serving("v1").apply("v2").until_weight(10)

    story.edit(acceptance={"metrics": {"accuracy": {"min": 0.95}}}).settle()

    assert story.weights == {"v1": 100}
    assert story.rejected == [("Content", "MetricBelowBound")]


def test_a_first_version_that_fails_is_kept_for_a_look_and_then_stopped(scenario: Scenario) -> None:
    story = scenario().fails("v1", "GoldenMismatch").settle()
    assert story.phase == "Failed"
    assert story.truth("Ready") == ("False", "GoldenMismatch")
    assert story.runs("9m").replicas == {"v1": 1}

    assert story.runs("2m").replicas == {}
    assert story.phase == "Refused"
    assert story.weights == {}


def test_the_version_after_a_failed_first_one_is_first_again(scenario: Scenario) -> None:
    story = scenario(steps=[10]).fails("v1", "GoldenMismatch").settle()

    story.apply("v2").settle()

    assert story.weights == {"v2": 100}
    assert story.phase == "Serving"


def test_a_failed_first_version_is_tried_again_when_the_cause_may_pass(scenario: Scenario) -> None:
    story = scenario(rollout={"progressDeadline": "2m"}).fails("v1", "DiskFull", "Environment")
    story.until(lambda story: story.phase == "Failed", within="5m")
    assert story.rejected == [("Environment", "DiskFull")]

    story.servers_of("v1", failure=None).runs("2m")

    assert story.weights == {"v1": 100}


def test_content_that_changes_under_an_address_is_refused(scenario: Scenario) -> None:
    story = scenario().serving("v1")
    story.knows("v1", digest="sha256:" + "f" * 64)
    story.world.records.clear()  # the runner lost them, and has to read the manifest again
    story.world.resolved = None

    story.settle()

    assert story.rejected == [("Content", "SourceChanged")]
    assert story.stable == "v1"


def test_at_most_ten_refusals_are_remembered(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1")
    for number in range(2, 14):
        story.fails(f"v{number}", "GoldenMismatch").apply(f"v{number}").settle()

    assert len(story.status.rejected) == 10
    assert "v13" in story.rejection().message


def test_a_resolution_without_an_answer_is_a_matter_of_the_environment(scenario: Scenario) -> None:
    story = scenario().serving("v1").apply("v2").settle(1)
    wanted = story.plan.resolve
    assert wanted is not None
    from tidegate.plan.observed import Resolved

    story.world.resolved = Resolved(wanted.key, wanted.attempt)
    story.turn()

    assert story.rejected == [("Environment", "NoAnswer")]


OPENS: dict[str, Any] = {"decryption": {"keySecretRef": {"name": "model-key", "key": "age.key"}}}


def of_version(version: str, **more: Any) -> dict[str, Any]:
    return {"uri": f"file:///bundles/{version}", **more}


def test_an_encrypted_bundle_without_a_key_is_refused_and_served_when_the_spec_names_one(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").knows("v2", plain_bytes=2**20)
    story.apply("v2").settle()

    assert story.rejected == [("Content", "BundleEncrypted")]
    assert story.truth("Stalled") == ("True", "BundleEncrypted")
    assert "name its age key in bundle.decryption" in story.rejection().message
    assert (story.stable, story.candidate) == ("v1", "")

    story.edit(bundle=of_version("v2", **OPENS)).until(lambda story: story.stable == "v2")


def test_a_key_that_is_taken_out_of_the_spec_stops_nothing_that_serves(scenario: Scenario) -> None:
    story = scenario(steps=[10], bundle=of_version("v1", **OPENS)).knows("v1", plain_bytes=2**20).serving("v1")

    story.edit(bundle=of_version("v1")).settle()

    assert story.truth("Stalled") == ("True", "BundleEncrypted")
    assert (story.stable, story.weights) == ("v1", {"v1": 100})


def test_a_key_for_a_bundle_that_is_not_encrypted_changes_nothing(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1")

    story.apply("v2", bundle=of_version("v2", **OPENS)).until(lambda story: story.stable == "v2")

    assert story.rejected == []


def test_another_image_is_resolved_anew_and_the_digest_stays_the_only_one(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1")
    asked = len([plan for plan in story.world.plans if plan.resolve])
    digest = story.status.resolution.digest if story.status.resolution else ""

    story.edit(runtime={"image": "registry.example.com/runtime:2"}).settle()

    again = [plan.resolve for plan in story.world.plans if plan.resolve][asked:]
    assert again
    assert {question.source.digest for question in again} == {digest}


def test_where_no_server_can_run_beside_the_old_ones_a_bundle_is_proved_before_one_of_them_goes(
    scenario: Scenario,
) -> None:
    story = scenario(rollout={"surge": "Replace"}, scaling={"minReplicas": 2}).serving("v1").apply("v2")
    story.settle()

    assert {plan.resolve.prove for plan in story.world.plans if plan.resolve} == {True}
