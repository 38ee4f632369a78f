"""How the demo reads a run: how an act ended, which steps there were, and whether clients saw the share asked for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from examples.demo.course import end_of, observed, rows_since, steps, within
from examples.demo.traffic import BIN, Tally


def _row(time: float, weight: int = 0, *events: tuple[str, str, str]) -> dict[str, Any]:
    told = [{"type": kind, "reason": reason, "message": text, "revision": "new"} for kind, reason, text in events]
    return {"time": time, "weights": {"old": 100 - weight, "new": weight}, "events": told}


@pytest.mark.parametrize(
    ("event", "outcome", "reason"),
    [
        (("Normal", "Promoted", "version 2 is the stable version"), "promoted", "Promoted"),
        (("Warning", "RolledBack", "LatencyExceeded: p99 of 50 ms"), "rolledback", "LatencyExceeded"),
        (("Warning", "RolloutEnded", "GoldenMismatch: output 'y'"), "refused", "GoldenMismatch"),
        (("Warning", "DigestMismatch", "model.onnx: expected"), "refused", "DigestMismatch"),
    ],
)
def test_the_last_event_of_an_act_says_how_it_ended(event: Any, outcome: str, reason: str) -> None:
    end = end_of([_row(1, 0, ("Normal", "RolloutStarted", "Spec: version 2 starts")), _row(2, 0, event)])

    assert end is not None
    assert (end.outcome, end.reason, end.at) == (outcome, reason, 2)


def test_an_act_without_such_an_event_goes_on() -> None:
    assert end_of([_row(1, 10, ("Normal", "WeightRaised", "10 % of the requests"))]) is None


def test_steps_leave_out_the_moments_around_a_change() -> None:
    rows = [_row(0), _row(1, 10), _row(4, 10), _row(9, 50), _row(20, 100), _row(30, 100)]

    assert steps(rows, "new") == [(10, 1.5, 8.5), (50, 9.5, 19.5)]


def test_a_share_close_to_the_weight_lies_within_its_interval() -> None:
    assert within(observed(10, Counter({"2": 1010, "1": 8990}), "2"))


def test_a_share_far_from_the_weight_does_not() -> None:
    assert not within(observed(10, Counter({"2": 1500, "1": 8500}), "2"))


def test_the_interval_widens_with_fewer_requests() -> None:
    few, many = (observed(10, Counter({"2": n, "1": 9 * n}), "2") for n in (10, 1000))

    assert few["high"] - few["low"] > 5 * (many["high"] - many["low"])


def test_without_any_answer_nothing_is_known() -> None:
    assert observed(10, Counter(), "2") == {"step": 10, "share": 0.0, "low": 0.0, "high": 1.0}


def test_requests_are_counted_by_the_time_they_were_sent() -> None:
    tally = Tally()
    for moment in (10.05, 10.15, 10.25, 10.95):
        tally.right(moment, "1")

    assert tally.between(10.1 - BIN, 10.9) == {"1": 2}
    assert tally.last("1") == pytest.approx(11.0)


def test_a_row_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    whole = {"at": "2026-01-01T00:00:10Z", "events": []}
    (tmp_path / "timeline.jsonl").write_text(json.dumps(whole) + '\n{"at": "2026-01')

    assert len(list(rows_since(tmp_path / "timeline.jsonl", 0))) == 1
