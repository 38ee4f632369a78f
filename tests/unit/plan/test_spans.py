"""A rollout told as spans, by whoever writes the status."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from tidegate.plan.spans import Span, ended_spans, trace_name

from .conftest import Story

Scenario = Callable[..., Story]


def spans_of(story: Story) -> list[tuple[str, Span]]:
    """All that have ended, each with its trace's name."""
    return [
        (trace_name("uid", before.status), span)
        for before, plan in pairwise(story.world.plans)
        for span in ended_spans(before.status, plan, plan.decisions[0].at if plan.decisions else story.world.now)
    ]


def test_phases_follow_each_other_within_the_rollout(scenario: Scenario) -> None:
    story = scenario(steps=[10, 50]).serving("v1").apply("v2").until_phase("Watching").runs("10m")

    told = spans_of(story)
    (trace, whole) = told[-1]
    mine = [span for name, span in told if name == trace]

    assert [span.name for span in mine] == [
        "proving", "shifting", "holding", "shifting", "holding", "shifting", "watching", "rollout",
    ]  # fmt: skip
    assert [span.attributes["tidegate.weight"] for span in mine[:-1]] == [0, 10, 10, 50, 50, 100, 100]
    assert all(one.ended == other.began for one, other in pairwise(mine[:-1]))
    assert (whole.began, whole.ended) == (mine[0].began, mine[-2].ended)
    assert whole.attributes["tidegate.outcome"] == "Promoted"
    assert whole.attributes["tidegate.version"] == "v2"


def test_a_hold_ends_with_what_the_checks_said(scenario: Scenario) -> None:
    story = scenario(steps=[10, 50]).serving("v1").apply("v2").until_weight(50)

    holding = [span for _, span in spans_of(story) if span.name == "holding"]
    ((judged,),) = [span.parts for span in holding]

    assert judged.name == "analysis"
    assert str(judged.attributes["tidegate.check.errors"]).startswith("undecided: error rate 0 % (limit 5 %), ")


def test_a_version_that_was_sent_back_is_a_failed_rollout(scenario: Scenario) -> None:
    story = scenario(steps=[50]).serving("v1").apply("v2").servers_of("v2", errors=0.5).runs("30m")

    *_, (_, whole) = spans_of(story)

    assert (whole.name, whole.failed) == ("rollout", True)
    assert whole.attributes["tidegate.outcome"] == "ErrorRateExceeded"


def test_a_return_after_the_promotion_is_of_the_same_trace(scenario: Scenario) -> None:
    story = scenario(steps=[50]).serving("v1").apply("v2").until_phase("Watching")
    began = story.status.rollout.began_at  # type: ignore[union-attr]

    story.command("abort", "v2")

    assert story.status.rollout is None or story.status.rollout.began_at == began


def test_at_rest_nothing_ends(scenario: Scenario) -> None:
    story = scenario().serving("v1").runs("1h")

    assert ended_spans(story.status, story.turn(), story.world.now) == ()
    assert trace_name("uid", story.status) == ""
