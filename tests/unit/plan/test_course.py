"""The rows that a report is drawn from, and which of them are kept."""

from __future__ import annotations

import json
from collections.abc import Callable

from tidegate.plan.course import kept, lines_of, measured, row
from tidegate.plan.told import course_name, decisions_in, lines_in

from .conftest import Story

Scenario = Callable[..., Story]


def test_a_row_has_both_versions_with_their_figures(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1h")]).serving("v1").apply("v2").until_weight(50).runs("5m")

    made = row(story.plan, story.world.now, measured(story.plan))

    old, new = story.revision("v1"), story.revision("v2")
    assert made["weights"] == {old: 50, new: 50}
    assert {name: (one["role"], one["version"]) for name, one in made["versions"].items()} == {
        old: ("stable", "v1"), new: ("candidate", "v2"),
    }  # fmt: skip
    assert made["versions"][new]["requests"] == story.status.rollout.measurements.candidate.requests > 0  # type: ignore[union-attr]
    assert made["versions"][new]["ready"] == 1


def test_after_the_promotion_the_figures_stay_with_their_versions(scenario: Scenario) -> None:
    story = scenario(steps=[(50, "1m")]).serving("v1").apply("v2").until_phase("Watching")

    figures = measured(story.plan)

    assert set(figures) == {story.revision("v1"), story.revision("v2")}


def test_decisions_are_read_back_as_they_were_made(scenario: Scenario) -> None:
    story = scenario(steps=[50]).serving("v1").apply("v2").until_phase("Watching")

    rows = [row(plan, story.world.now, measured(plan)) for plan in story.world.plans if plan.decisions]

    assert [one["number"] for one in decisions_in(lines_of(rows))] == list(range(1, story.status.decisions + 1))


def test_of_too_many_rows_figures_go_before_decisions_and_the_oldest_first() -> None:
    figures = [{"at": f"{n:02}", "events": []} for n in range(4)]
    decided = [{"at": f"{n:02}", "events": [{"number": n}]} for n in range(4, 6)]
    lines = lines_of([figures[0], decided[0], figures[1], figures[2], decided[1], figures[3]])
    size = len(lines[0]) + 1

    assert kept(lines, 10_000) == lines
    assert kept(lines, sum(len(line) + 1 for line in lines) - 2 * size) == [lines[i] for i in (1, 3, 4, 5)]
    assert [json.loads(line)["at"] for line in kept(lines, len(lines[1]) + 1)] == ["05"]


def test_lines_that_anybody_wrote_are_passed_over() -> None:
    lines = ["{", "7", '{"events": 3}', '{"events": [7, {"number": "x"}, {"number": 2, "reason": "Held"}]}']

    assert decisions_in(lines) == [{"number": 2, "reason": "Held"}]


def test_where_there_is_room_for_nothing_nothing_is_kept() -> None:
    assert kept(['{"events":[]}'], 0) == []


def test_the_course_is_read_back_from_its_config_map_whatever_that_holds() -> None:
    assert course_name("fraud") == "fraud-course"
    assert lines_in({"data": {"course.jsonl": "a\nb\n"}}) == ["a", "b"]
    assert lines_in({}) == lines_in({"data": {"course.jsonl": 1}}) == []
