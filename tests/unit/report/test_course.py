"""Reading a run's timeline: whatever stands in it, the story is told as far as it can be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tidegate.report.course import MAX_POINTS, read_course
from tidegate.report.plots import draw, plots_of
from tidegate.report.scales import Times, clock, day, lasting, values_by_factors, values_for
from tidegate.report.summary import summaries

from .told import START, Told, event


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "fraud")


def test_rows_that_make_no_sense_are_left_out(told: Told) -> None:
    told.row(0, {"a": 100}).raw("{half a li").raw([1]).raw({"at": "yesterday"}).raw({"phase": "x"})
    told.raw({"at": "2026-01-01T12:00:05", "versions": {"a": 7, "b": {"requests": "many"}}, "events": [3, {}]})
    told.row(9, {"a": 100})
    course = read_course(told.folder)
    assert [point.at - START.timestamp() for point in course.points] == [0, 5, 9]
    assert course.points[1].versions["b"].total == 0
    assert [(e.reason, e.warning) for e in course.happenings] == [("", False)]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", '"9"', "true", "null"])
def test_numbers_that_are_none_are_missing(told: Told, value: str) -> None:
    row = '{"at":"2026-01-01T12:00:00Z","weights":{"a":100},"versions":{"a":{"requests":5,"p99Ms":VALUE}}}'
    course = read_course(told.raw(row.replace("VALUE", value)).folder)
    assert course.points[0].versions["a"].p99 is None


def test_older_rows_come_first(told: Told) -> None:
    told.row(100, {"a": 100})
    (told.folder / "timeline.jsonl").rename(told.folder / "timeline.1.jsonl")
    told.row(200, {"a": 100})
    assert [p.at - START.timestamp() for p in read_course(told.folder).points] == [100, 200]


def test_a_file_beyond_any_recording_is_not_read(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    told.row(0, {"a": 100})
    monkeypatch.setattr("tidegate.report.course.MAX_FILE", 10)
    with pytest.raises(Exception, match="nothing was recorded"):
        read_course(told.folder)


def test_requests_and_errors_are_those_since_the_row_before(told: Told) -> None:
    course = read_course(told.row(0, {"a": 100}, a={"n": 10}).row(1, {"a": 100}, a={"n": 7, "bad": 2}).folder)
    assert [(p.versions["a"].requests, p.versions["a"].errors) for p in course.points] == [(10, 0), (7, 2)]
    assert course.points[1].versions["a"].error_share == pytest.approx(2 / 7)


def test_a_long_run_is_thinned_and_nothing_that_happened_is_lost(told: Told) -> None:
    for at in range(2 * MAX_POINTS + 1):
        spike = {"p99Ms": 900.0 if at == 701 else 9.0, "rps": None if at == 3 else 50.0, "bad": 1}
        told.row(at, {"a": 100}, [event("WeightRaised", f"{at}", "a")] if at % 100 == 0 else None, a=spike)
    course = read_course(told.folder)
    assert len(course.points) <= MAX_POINTS
    assert max(p.versions["a"].p99 or 0 for p in course.points) == 900.0
    assert sum(p.versions["a"].errors for p in course.points) == 2 * MAX_POINTS + 1
    assert len(course.happenings) == 13


def test_long_text_is_cut(told: Told) -> None:
    course = read_course(told.row(0, {"a": 100}, [event("RolledBack", "x" * 5000, "a")]).folder)
    assert len(course.happenings[0].message) == 600


def test_a_version_without_events_ends_as_its_history_says(told: Told) -> None:
    told.row(0, {"a": 100, "b": 0, "d": 0})
    told.keeps(status={"history": [{"revision": "b", "outcome": "Refused", "reason": "GoldenMismatch"}, 7]})
    found = {one.revision: (one.outcome, one.reason) for one in summaries(read_course(told.folder))}
    assert found == {"a": ("In a rollout", ""), "b": ("Refused", "GoldenMismatch"), "d": ("In a rollout", "")}


def test_a_message_without_a_code_is_shown_whole(told: Told) -> None:
    told.row(0, {"a": 100, "b": 0}, [event("RolledBack", "back: by a person", "b"), event("Promoted", "", "a")])
    one, other = summaries(read_course(told.folder))
    assert (one.outcome, one.message) == ("Promoted", "")
    assert (other.reason, other.message) == ("back", "by a person")
    told.row(1, {"a": 100, "b": 0}, [event("RolledBack", "by a person", "b")])
    assert summaries(read_course(told.folder))[1].message == "by a person"


def test_a_status_that_is_no_status_is_passed_over(told: Told) -> None:
    told.row(0, {"a": 100}).keeps(spec=[], status={"history": 3, "rollout": {"checks": "all"}, "stable": "a"})
    course = read_course(told.folder)
    assert (course.ended, course.checks, course.stable, course.phase) == ({}, (), "", "Serving")


def test_requests_per_server_are_drawn_where_there_are_several(told: Told) -> None:
    for at in range(3):
        told.row(at, {"a": 90, "b": 10}, a={"ready": 3}, b={"divergence": 0.02, "ready": 0})
    plots = [plot.key for plot in plots_of(read_course(told.folder))]
    assert plots == ["rps", "errors", "latency", "load", "divergence"]


def test_a_line_does_not_cross_a_silence(told: Told) -> None:
    for at in (0, 1, 2, 60, 61, 62, 200):
        told.row(at, {"a": 100})
    course = read_course(told.folder)
    drawn = draw(course, plots_of(course)[0])
    assert drawn.count("<polyline") == 2
    assert drawn.count("<circle") == 1


def test_marks_that_would_cover_each_other_stand_in_rows(told: Told) -> None:
    from tidegate.report.plots import draw_weights

    crowd = [event("WeightRaised", str(i), "a") for i in range(6)]
    course = read_course(told.row(0, {"a": 100}).row(50, {"a": 100}, crowd).row(100, {"a": 100}).folder)
    assert len(set(re.findall(r'cy="([\d.]+)" r="8"', draw_weights(course)))) == 4


@pytest.mark.parametrize(
    ("largest", "top", "marks"), [(0, 1.0, 4), (7, 8.0, 5), (100, 100.0, 3), (1234, 1500.0, 4), (0.0042, 0.006, 4)]
)
def test_value_axes_end_at_round_numbers(largest: float, top: float, marks: int) -> None:
    values = values_for(largest, 100)
    assert values.top == pytest.approx(top)
    assert abs(len(values.marks) - marks) <= 2
    assert values.y(0) == 100
    assert values.y(values.top) == 0


def test_an_axis_by_factors_gives_each_decade_the_same_room() -> None:
    values = values_by_factors(0.3, 800, 90)
    assert (values.low, values.top, values.marks) == (0.1, 1000.0, (0.1, 1.0, 10.0, 100.0, 1000.0))
    assert [round(values.y(v)) for v in (0.01, 0.1, 10, 1000, 5000)] == [90, 90, 45, 0, 0]
    assert 5.0 in values_by_factors(2, 60, 90).marks


@pytest.mark.parametrize(
    ("seconds", "label"), [(20, "12:00:05"), (600, "12:02"), (86400 * 3, "00:00"), (86400 * 400, "16 Feb")]
)
def test_times_are_marked_at_round_minutes_or_days(seconds: int, label: str) -> None:
    ticks = Times(START.timestamp(), START.timestamp() + seconds).ticks()
    assert 2 <= len(ticks) <= 9
    assert label in [text for _, text in ticks]


def test_times_are_written_as_people_read_them() -> None:
    assert [lasting(s) for s in (3, 81, 120, 11_100, 90_000)] == ["3 s", "1 min 21 s", "2 min", "3 h 5 min", "1 d 1 h"]
    assert (clock(START.timestamp()), day(START.timestamp())) == ("12:00:00", "2026-01-01 12:00:00 UTC")
