"""Ways back: by evidence, by a person, and after promotion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tidegate.plan.observed import Failure, FailureClass

from .conftest import TURN, Story

Scenario = Callable[..., Story]


def test_a_version_with_many_errors_goes_back_at_once(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "10m")]).serving("v1").servers_of("v2", errors=0.3)

    story.apply("v2").until(lambda story: bool(story.rejected), within="5m").settle()

    assert story.rejected == [("Content", "ErrorRateIncreased")]
    assert story.weights == {"v1": 100}
    assert story.replicas == {"v1": 1}
    assert story.told("RolledBack") == 1
    assert [(entry.version, entry.outcome) for entry in story.status.history] == [
        ("v1", "Promoted"),
        ("v2", "RolledBack"),
    ]


def test_all_weight_is_taken_back_in_the_very_plan_of_the_verdict(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "10m")]).serving("v1").servers_of("v2", errors=0.3)
    story.apply("v2")

    while not story.rejected:
        story.turn()
        story.world.pass_time(story.world.spec.rollout.analysis.interval)

    assert story.weights == {"v1": 100}


def test_a_rejected_version_is_not_tried_again_by_itself(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "10m")]).serving("v1").servers_of("v2", errors=0.3).apply("v2")

    story.runs("1h").edit(scaling={"minReplicas": 2}).runs("1h")

    assert story.told("RolloutStarted") == 2
    assert story.truth("Degraded") == ("True", "ErrorRateIncreased")


def test_the_candidate_goes_only_when_the_route_has_let_go_of_it(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")]).serving("v1").apply("v2").until_weight(10)
    story.world.route_stuck = True

    story.command("abort").runs("2m")
    assert story.phase == "Returning"
    assert story.replicas == {"v1": 1, "v2": 1}
    story.world.route_stuck = False
    story.settle()

    assert story.replicas == {"v1": 1}


def test_a_candidate_that_was_never_routed_goes_whatever_the_route_says(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").servers_of("v2", ready=0).apply("v2").settle()
    story.world.route_accepted = False

    story.command("abort").settle()

    assert story.replicas == {"v1": 1}


def test_abort_works_with_everything_dead(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")]).serving("v1").apply("v2").until_weight(10)
    story.servers_of("v2", ready=0).servers_of("v1", ready=0)
    story.world.rate = 0

    story.command("abort")

    assert story.weights == {"v1": 100}
    assert story.rejected == [("Command", "Aborted")]


def test_an_aborted_version_waits_for_retry(scenario: Scenario) -> None:
    story = scenario(steps=[10]).serving("v1").apply("v2").until_weight(10).command("abort").runs("3h")
    assert story.stable == "v1"

    story.command("retry").until_phase("Watching")

    assert story.stable == "v2"


def test_abort_of_another_revision_is_ignored(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")]).serving("v1").apply("v2").until_weight(10)

    story.command("abort", "v1").settle()

    assert story.weights == {"v1": 90, "v2": 10}
    assert story.told("CommandIgnored") == 1


def test_abort_during_the_watch_returns_to_the_warm_version_at_once(scenario: Scenario) -> None:
    story = scenario(steps=[50]).serving("v1").apply("v2").until_phase("Watching")

    story.command("abort")

    assert story.weights == {"v1": 100}
    assert story.settle().replicas == {"v1": 1}
    assert story.rejected == [("Command", "Aborted")]
    assert story.runs("1h").stable == "v1"


def test_abort_during_the_watch_needs_a_ready_old_version(scenario: Scenario) -> None:
    story = scenario(steps=[50]).serving("v1").apply("v2").until_phase("Watching").servers_of("v1", ready=0)

    story.command("abort")

    assert story.weights == {"v2": 100}
    assert story.told("CommandIgnored") == 1


def watched(scenario: Scenario) -> Story:
    rollout = {"scaleDownDelay": "30m"}
    return scenario(steps=[(50, "1m")], rollout=rollout).serving("v1").apply("v2").until_phase("Watching").runs("1m")


def test_a_version_that_breaks_after_promotion_goes_back_to_the_warm_one(scenario: Scenario) -> None:
    story = watched(scenario).servers_of("v2", errors=0.4)

    story.until(lambda story: bool(story.rejected), within="5m").settle()

    assert story.rejected == [("Content", "FailedAfterPromotion")]
    assert story.stable == "v1"
    assert story.weights == {"v1": 100}
    assert story.replicas == {"v1": 1}


def test_the_old_version_is_asked_by_golden_samples_before_the_return(scenario: Scenario) -> None:
    story = watched(scenario).servers_of("v2", errors=0.4)

    while not story.turn().synthetic:
        story.world.pass_time(TURN)

    assert story.plan.synthetic == {story.revision("v1"): 1.0}
    assert story.settle(1).stable == "v2"  # its answers are awaited


def test_a_fault_that_the_old_version_shares_holds(scenario: Scenario) -> None:
    story = watched(scenario).servers_of("v2", errors=0.4).servers_of("v1", golden_fails=True)

    story.runs("5m")

    assert story.stable == "v2"
    assert story.hold == "SharedDegradation"
    assert story.truth("Degraded") == ("True", "SharedDegradation")


def test_a_shared_fault_that_passes_is_forgotten(scenario: Scenario) -> None:
    story = watched(scenario).servers_of("v2", errors=0.4).servers_of("v1", golden_fails=True).runs("5m")

    story.servers_of("v2", errors=0.0).until(lambda story: story.phase == "Serving")

    assert story.hold == ""


def test_an_old_version_without_golden_samples_is_returned_to_unasked(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1m")]).knows("v1", has_golden=False).serving("v1").apply("v2")
    story.until_phase("Watching").runs("1m").servers_of("v2", errors=0.4)

    story.until(lambda story: bool(story.rejected), within="5m").settle()

    assert story.stable == "v1"
    assert all(not plan.synthetic for plan in story.world.plans[-8:])


def test_an_old_version_that_does_not_answer_in_time_is_returned_to(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1m")], rollout={"analysis": {"synthetic": {"rate": 0}}}).serving("v1").apply("v2")
    story.until_phase("Watching").runs("1m").servers_of("v2", errors=0.4).servers_of("v1", golden_silent=True)
    story.until(lambda story: bool(story.plan.synthetic), within="5m")

    story.runs("30s")

    assert story.stable == "v1"


def test_a_promoted_version_whose_servers_die_gives_way_to_the_warm_one(scenario: Scenario) -> None:
    story = watched(scenario).servers_of("v2", ready=0)

    story.runs("1m").settle()

    assert story.stable == "v1"
    assert story.rejected == [("Environment", "StableLost")]


def test_a_promoted_version_stays_while_the_old_one_is_not_ready_either(scenario: Scenario) -> None:
    story = watched(scenario).servers_of("v1", ready=0).servers_of("v2", ready=0)

    story.runs("5m")

    assert story.stable == "v2"
    assert story.truth("Ready") == ("False", "StableNotReady")


def promoted_twice(scenario: Scenario, **rollout: object) -> Story:
    story = scenario(steps=[50], rollout=rollout).serving("v1")
    return story.apply("v2").until(lambda story: story.stable == "v2").until_phase("Serving")


def test_rollback_starts_an_earlier_version_and_switches_when_it_is_ready(scenario: Scenario) -> None:
    story = promoted_twice(scenario).servers_of("v1", ready=0)
    story.command("rollback-to", "v1").runs("1m")
    assert story.weights == {"v2": 100}
    assert story.candidate == "v1"

    story.servers_of("v1", ready=None).settle()

    assert story.weights == {"v1": 100}
    assert story.phase == "Serving"
    assert story.stable == "v1"


def test_a_rollback_does_not_roll_forward_again(scenario: Scenario) -> None:
    story = promoted_twice(scenario).command("rollback-to", "v1").runs("3h")

    assert story.stable == "v1"
    assert story.rejected == [("Command", "RolledBack")]
    assert story.truth("Stalled") == ("True", "RolledBack")
    assert story.truth("Promoted") == ("False", "RolledBack")


def test_rollback_to_the_warm_version_is_instant(scenario: Scenario) -> None:
    story = watched(scenario)

    story.command("rollback-to", "v1")

    assert story.weights == {"v1": 100}
    assert story.runs("1h").stable == "v1"


def test_rollback_during_a_rollout_ends_it_first(scenario: Scenario) -> None:
    story = promoted_twice(scenario).apply("v3").until_weight(50)

    story.command("rollback-to", "v1").settle()

    assert story.stable == "v1"
    assert story.runs("1h").stable == "v1"


def test_rollback_to_the_stable_version_during_a_rollout_is_an_abort(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")]).serving("v1").apply("v2").until_weight(50)

    story.command("rollback-to", "v1").settle()

    assert story.weights == {"v1": 100}
    assert story.rejected == [("Command", "RolledBack")]


def test_rollback_to_what_serves_already_or_never_did_is_ignored(scenario: Scenario) -> None:
    story = promoted_twice(scenario).fails("v3", "GoldenMismatch").apply("v3").settle()

    story.command("rollback-to", "v2").command("rollback-to", "v3")

    assert story.told("CommandIgnored") == 2
    assert story.settle().stable == "v2"


def test_a_rollback_target_whose_bundle_is_gone_changes_nothing(scenario: Scenario) -> None:
    story = promoted_twice(scenario)
    story.servers_of("v1", failure=Failure(FailureClass.ENVIRONMENT, "NotFound", "no such bundle"))

    story.command("rollback-to", "v1").settle()

    assert story.stable == "v2"
    assert story.replicas == {"v2": 1}
    assert ("Environment", "BundleGone") in story.rejected


def test_rolling_forward_again_by_command_forgets_the_rollback(scenario: Scenario) -> None:
    story = promoted_twice(scenario).command("rollback-to", "v1").settle()

    story.command("rollback-to", "v2").settle()

    assert story.stable == "v2"
    assert story.truth("Promoted") == ("True", "Promoted")
    assert story.rejected == []


def test_the_next_version_is_rolled_out_after_a_rollback(scenario: Scenario) -> None:
    story = promoted_twice(scenario).command("rollback-to", "v1").settle()

    assert story.apply("v3").until_phase("Watching").stable == "v3"


def test_history_keeps_the_versions_that_can_be_returned_to(scenario: Scenario) -> None:
    story = scenario(steps=[], rollout={"scaleDownDelay": "0s", "historyLimit": 2}).serving("v1")
    for number in (2, 3, 4):
        story.apply(f"v{number}").settle()
    for number in (5, 6, 7, 8, 9):
        story.fails(f"v{number}", "GoldenMismatch").apply(f"v{number}").settle()

    served = [entry.version for entry in story.status.history if entry.outcome == "Promoted"]
    assert served == ["v2", "v3", "v4"]
    assert [entry.version for entry in story.status.history][3:] == ["v7", "v8", "v9"]
    assert {record.resolution.version for record in story.world.records.values()} >= {"v2", "v3", "v4"}


def test_restart_is_a_canary_of_the_same_bundle(scenario: Scenario) -> None:
    story = scenario(steps=[50]).serving("v1")
    before = story.revision("v1")

    story.command("restart", "v1").until_weight(50)
    assert story.candidate == "v1"
    assert story.truth("Promoted") == ("False", "StepHold")
    story.until_phase("Serving")

    assert story.status.stable is not None
    assert story.status.stable.revision != before
    assert story.truth("Promoted") == ("True", "Promoted")
    assert story.runs("1h").told("RolloutStarted") == 2


def test_a_second_restart_is_another_revision(scenario: Scenario) -> None:
    story = scenario(steps=[]).serving("v1")
    seen = set()
    for _ in range(3):
        story.command("restart", "v1").until_phase("Serving").runs("10m")
        assert story.status.stable is not None
        seen.add(story.status.stable.revision)

    assert len(seen) == 3


def test_a_failed_restart_leaves_the_old_servers(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "10m")]).serving("v1").command("restart", "v1").until_weight(50)
    revision = story.status.candidate

    story.command("abort").settle()

    assert revision is not None
    assert story.status.stable is not None
    assert story.status.stable.revision != revision.revision
    assert story.runs("3h").told("RolloutStarted") == 2


def test_restart_of_what_is_not_stable_or_during_a_rollout_is_ignored(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")]).serving("v1").apply("v2").until_weight(50)

    story.command("restart", "v2").command("restart", "v1")

    assert story.told("CommandIgnored") == 2


def test_a_new_version_goes_before_a_restart(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1m")]).serving("v1").command("restart", "v1").until_weight(50)

    story.apply("v2").until_phase("Watching")

    assert story.stable == "v2"


def secret(name: str) -> dict[str, Any]:
    return {"uri": "file:///bundles/v1", "secretRef": {"name": name}}


def test_a_restart_that_comes_with_an_edit_waits_until_it_is_known_what_the_spec_names(scenario: Scenario) -> None:
    """It takes up the Secrets that the spec names, of the same bundle: before that it would keep the old ones."""
    story = scenario(steps=[50], bundle=secret("old")).serving("v1")
    serves = story.revision("v1")

    story.edit(bundle=secret("new")).command("restart", "v1")
    assert (story.told("RestartAsked"), story.candidate) == (1, "")
    assert story.plan.resolve is not None
    assert list(story.world.records) == [serves], "what is kept would keep its Secrets"
    story.turn()

    assert story.candidate == "v1"
    assert story.status.rollout is not None
    assert story.status.rollout.cause == "Restart"
    assert story.status.resolution is not None
    assert story.status.resolution.revision == serves


def test_a_restart_that_comes_with_an_edit_that_is_refused_is_done_with_what_was(scenario: Scenario) -> None:
    story = scenario(steps=[], bundle=secret("old")).serving("v1")
    story.world.bundles["file:///bundles/v1"] = Failure(FailureClass.ENVIRONMENT, "Denied", "no such key")

    story.edit(bundle=secret("new")).command("restart", "v1").until_phase("Watching")

    assert story.status.stable is not None
    assert (story.status.stable.number, story.rejected) == (2, [("Environment", "Denied")])


def test_an_edit_does_not_end_a_restart_before_it_is_known_what_it_names(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "10m")], bundle=secret("old")).serving("v1").command("restart", "v1").until_weight(50)

    story.edit(bundle=secret("new")).until_phase("Watching")

    assert story.told("RolloutEnded") + story.told("RolledBack") == 0


def test_a_restart_is_a_revision_of_its_own_number_also_after_versions_that_are_gone(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "10m")]).serving("v1").servers_of("v2", errors=0.3)
    story.apply("v2").until(lambda story: bool(story.rejected), within="5m").settle()
    numbers = {entry.number for entry in story.status.history}

    story.apply("v1").settle().command("restart", "v1").settle()

    assert story.status.candidate is not None
    assert story.status.candidate.number > max(numbers)
