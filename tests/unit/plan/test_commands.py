"""Commands are texts that people, tools and copies of objects write: what counts as one, and what is done once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tidegate.plan.commands import asked_by, latest, new_commands, parse_command, value_time
from tidegate.plan.verbs import Verb

from .conftest import Story

Scenario = Callable[..., Story]
TIME = "2026-01-01T10:00:00Z"


def test_a_command_names_a_revision_perhaps_a_step_and_a_time() -> None:
    command = parse_command("promote", f"abc123/2@{TIME}")

    assert command is not None
    assert (command.verb, command.revision, command.step) == (Verb.PROMOTE, "abc123", 2)
    assert command.at.isoformat() == "2026-01-01T10:00:00+00:00"


@pytest.mark.parametrize(
    ("verb", "value"),
    [
        ("promote", ""),
        ("promote", "abc"),
        ("promote", "abc@yesterday"),
        ("promote", "abc@2026-01-01T10:00:00"),
        ("promote", f"../etc@{TIME}"),
        ("promote", f"abc/x@{TIME}"),
        ("promote", f"{'a' * 64}@{TIME}"),
        ("promote", "abc@" + "9" * 500),
        ("destroy", f"abc@{TIME}"),
    ],
)
def test_anything_else_is_no_command(verb: str, value: str) -> None:
    assert parse_command(verb, value) is None


def test_commands_are_annotations_of_ours_and_nothing_else() -> None:
    notes = {
        "serving.tidegate.io/promote": "aaaaaaaaaa@2026-01-01T00:00:00Z",
        "serving.tidegate.io/dance": "now",
        "example.com/promote": "x",
        "serving.tidegate.io/abort": "y" * 500,
    }

    found = asked_by(notes)

    assert found == {"promote": notes["serving.tidegate.io/promote"], "abort": "y" * 160}


def test_only_values_of_known_verbs_that_changed_are_new() -> None:
    asked = {"abort": "a@1", "pause": "b@1", "destroy": "c@1"}

    assert new_commands(asked, {"abort": "a@1"}) == {"pause": "b@1"}


def test_of_several_new_commands_the_latest_wins() -> None:
    command = latest({"promote": f"a@{TIME}", "abort": "a@2026-01-01T10:00:01Z", "retry": "broken"})

    assert command is not None
    assert command.verb is Verb.ABORT
    assert latest({}) is None


def test_a_command_acts_once_however_often_it_is_seen(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "manual"), (50, "manual")]).serving("v1").apply("v2").until_weight(10)

    story.command("promote").runs("20m")

    assert story.weights == {"v1": 50, "v2": 50}
    assert story.told("StepPromoted") == 1


def test_a_broken_command_is_told_once_and_changes_nothing(scenario: Scenario) -> None:
    story = scenario(steps=[(10, "1h")]).serving("v1").apply("v2").until_weight(10)
    story.world.commands["abort"] = "please"

    story.runs("5m")

    assert story.weights == {"v1": 90, "v2": 10}
    assert story.told("CommandIgnored") == 1


@pytest.mark.parametrize("verb", ["promote", "promote-full", "abort"])
def test_commands_about_a_rollout_without_one_are_ignored(scenario: Scenario, verb: str) -> None:
    story = scenario().serving("v1").command(verb, "v1").settle()

    assert story.told("CommandIgnored") == 1
    assert story.weights == {"v1": 100}


def test_a_first_version_may_be_aborted_and_retried(scenario: Scenario) -> None:
    story = scenario().servers_of("v1", ready=0).settle().command("abort")
    assert story.phase == "Failed"

    story.servers_of("v1", ready=None).command("retry").settle()

    assert story.weights == {"v1": 100}


def test_a_first_version_that_the_user_replaces_before_it_is_ready_just_goes(scenario: Scenario) -> None:
    story = scenario().servers_of("v1", ready=0).settle()

    story.apply("v2").settle()

    assert story.weights == {"v2": 100}
    assert story.rejected == []


def test_a_moment_is_read_as_it_was_written() -> None:
    at = datetime(2026, 1, 1, 10, 0, 0, 250, UTC)

    command = parse_command("promote", f"abc/1@{value_time(at)}")

    assert command is not None
    assert command.at == at
    assert value_time(at) == "2026-01-01T10:00:00.000250Z"
