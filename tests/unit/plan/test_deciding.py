"""Each decision is written down once, with who made it, the numbers it stood on, and what it changed."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.api.decision import Decision

from .conftest import Story

Scenario = Callable[..., Story]
MANUAL = [10, (50, "manual")]


def decisions(story: Story) -> list[Decision]:
    return [decision for plan in story.world.plans for decision in plan.decisions]


def reasons(story: Story) -> list[str]:
    return [decision.reason for decision in decisions(story)]


def last(story: Story, reason: str) -> Decision:
    return next(one for one in reversed(decisions(story)) if one.reason == reason)


def test_a_rollout_is_told_from_its_start_to_its_end(scenario: Scenario) -> None:
    story = scenario(steps=[10, 50]).serving("v1").apply("v2").until_phase("Watching").runs("10m")

    assert reasons(story) == [
        "RolloutStarted", "Promoted",
        "RolloutStarted", "WeightRaised", "WeightReached", "WeightRaised", "WeightReached", "WeightRaised", "Promoted",
        "Settled",
    ]  # fmt: skip
    assert [one.number for one in decisions(story)] == list(range(1, 11))
    assert story.status.decisions == 10


def test_a_plan_that_decides_nothing_writes_nothing_down(scenario: Scenario) -> None:
    story = scenario(steps=[10, (50, "manual")]).serving("v1").apply("v2").until_weight(50)
    told = len(decisions(story))

    story.runs("1h")

    assert len(decisions(story)) == told


def test_a_plan_that_was_not_written_numbers_its_decisions_alike_when_it_is_made_again(scenario: Scenario) -> None:
    story = scenario(steps=MANUAL).serving("v1").apply("v2").until_weight(50)
    before = story.status
    story.command("promote", step=2)
    first = [(one.number, one.reason) for one in story.plan.decisions]

    story.world.status = before  # the write met a conflict
    story.turn()

    assert first[0] == (before.decisions + 1, "StepPromoted")
    assert [(one.number, one.reason) for one in story.plan.decisions][: len(first)] == first


def test_a_step_says_from_where_to_where_and_on_which_numbers(scenario: Scenario) -> None:
    story = scenario(steps=[10, 50]).serving("v1").apply("v2").until_weight(50)

    raised = last(story, "WeightRaised")

    assert (raised.before.phase, raised.before.weight, raised.before.step) == ("Holding", 10, 1)
    assert (raised.after.phase, raised.after.weight, raised.after.step) == ("Shifting", 50, 2)
    assert raised.by.kind == "Operator"
    assert raised.generation == story.world.generation
    assert [check.name for check in raised.checks] == ["errors", "errorsIncrease"]
    assert raised.candidate is not None and raised.candidate.requests > 50
    assert f"{raised.candidate.requests:,} requests" in raised.checks[0].message


def test_a_rollback_by_the_analysis_has_the_check_that_failed(scenario: Scenario) -> None:
    story = scenario(steps=[50]).serving("v1").apply("v2").servers_of("v2", errors=0.5)

    story.until(lambda one: "RolledBack" in reasons(one))

    sent_back = last(story, "RolledBack")
    assert sent_back.type == "Warning"
    assert sent_back.message.startswith("ErrorRateExceeded: ")
    assert ("errors", "fail") in [(check.name, check.verdict) for check in sent_back.checks]
    assert (sent_back.before.weight, sent_back.after.weight) == (50, 0)
    assert sent_back.candidate is not None and (sent_back.candidate.error_rate or 0) > 0.3


def test_what_a_person_asked_for_is_theirs_and_what_follows_is_not(scenario: Scenario) -> None:
    story = scenario(steps=MANUAL).serving("v1").apply("v2").until_weight(50)
    story.command("promote", step=2)
    value = story.world.commands["promote"]

    promoted = last(story, "StepPromoted")

    assert promoted.by.model_dump() == {"kind": "Person", "name": "", "command": f"promote {value}"}
    assert last(story, "WeightRaised").by.kind == "Operator"


def test_a_person_is_named_where_the_command_says_who(scenario: Scenario) -> None:
    story = scenario(steps=MANUAL).serving("v1").apply("v2").until_weight(50)
    revision = story.revision("v2")
    value = f"{revision}@2026-01-01T00:30:00.000001Z"
    story.world.commands["abort"], story.world.asked_by = value, f"{value} alice@example.com"

    story.turn()

    assert last(story, "RolledBack").by.model_dump() == {
        "kind": "Person", "name": "alice@example.com", "command": f"abort {value}"
    }  # fmt: skip


def test_a_name_beside_another_command_names_nobody(scenario: Scenario) -> None:
    story = scenario(steps=MANUAL).serving("v1").apply("v2").until_weight(50)
    story.world.asked_by = f"{story.revision('v2')}@2026-01-01T00:00:00Z alice@example.com"

    story.command("abort")

    assert last(story, "RolledBack").by.name == ""


def test_a_hold_is_told_when_its_reason_changes(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1m")]).serving("v1").apply("v2").until_weight(50)

    story.edit(paused=True).runs("1m")
    held = last(story, "Held")

    assert held.message.startswith("Paused: ")
    assert held.after.hold == "Paused"


def test_names_of_any_length_are_cut(scenario: Scenario) -> None:
    story = scenario(steps=MANUAL).serving("v1").apply("v2").until_weight(50)
    value = f"{story.revision('v2')}@2026-01-01T00:30:00.000001Z"
    story.world.commands["abort"], story.world.asked_by = value, f"{value} {'x' * 5000}"

    story.turn()

    assert len(last(story, "RolledBack").by.name) == 128
