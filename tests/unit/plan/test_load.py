"""How much work servers have: from two looks at what they count, and never a zero where nothing is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.errors import Invalid
from tidegate.plan.load import MEASURES, Reading, Window, parse_reading, same_life
from tidegate_runtime import metrics
from tidegate_runtime.counters import Counters

IDLE = Reading(at=100, started=1000, requests=50, answered=50, busy=5.0, begun=50, waited=1.0, in_flight=0)
NOW = metrics.Now(
    labels={"model": "fraud", "version": "v1", "revision": "a"}, ready=True, in_flight=3, queued=1, connections=1,
    unread=0, golden_worst={}, shadow_dropped=0, batching=None,
)  # fmt: skip


def window(before: Reading = IDLE, seconds: float = 10, **more: float) -> Window:
    """So many seconds later, with so much more of each count."""
    later = {name: getattr(before, name) + count for name, count in more.items() if name not in ("in_flight", "gpu")}
    now = {name: more[name] for name in ("in_flight", "gpu") if name in more}
    return Window(before, replace(before, at=before.at + seconds, **later, **now))


BUSY = window(requests=40, answered=30, busy=60.0, begun=30, waited=3.0, in_flight=9, gpu=0.75)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("tidegate_concurrency", 6.0),  # not the nine of this moment
        ("tidegate_requests_per_second", 4.0),  # those that were refused are wanted, too
        ("tidegate_queue_seconds", 0.1),
        ("tidegate_gpu_utilization", 75.0),
    ],
)
def test_a_metric_is_the_mean_of_a_window(metric: str, value: float) -> None:
    assert MEASURES[metric]([BUSY], 1) == pytest.approx(value)


def test_what_adds_up_is_the_sum_of_all_servers_and_the_rest_their_mean() -> None:
    half = window(requests=20, answered=15, busy=30.0, begun=15, waited=4.5, in_flight=4, gpu=0.25)

    found = {metric: measure([BUSY, half], 2) for metric, measure in MEASURES.items()}

    assert found == {
        "tidegate_concurrency": pytest.approx(9), "tidegate_requests_per_second": pytest.approx(6),
        "tidegate_queue_seconds": pytest.approx(7.5 / 45), "tidegate_gpu_utilization": pytest.approx(50),
    }  # fmt: skip


def test_a_server_that_does_not_answer_is_taken_to_be_like_the_others() -> None:
    assert MEASURES["tidegate_concurrency"]([BUSY, BUSY], 3) == pytest.approx(18)
    assert MEASURES["tidegate_queue_seconds"]([BUSY], 2) == pytest.approx(0.1)


def test_long_requests_of_which_none_has_ended_are_in_work_all_the_same() -> None:
    stuck = window(in_flight=7)

    assert MEASURES["tidegate_concurrency"]([stuck], 1) == 7
    assert MEASURES["tidegate_queue_seconds"]([stuck], 1) is None


def test_who_has_nothing_to_do_has_no_load() -> None:
    found = {metric: measure([window()], 1) for metric, measure in MEASURES.items()}

    assert found == {
        "tidegate_concurrency": 0, "tidegate_requests_per_second": 0, "tidegate_queue_seconds": 0,
        "tidegate_gpu_utilization": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "same"),
    [({}, True), ({"started": 1001}, False), ({"requests": 49}, False), ({"at": 100}, False)],
)
def test_counts_of_two_lives_have_no_difference(change: dict[str, float], same: bool) -> None:
    assert same_life(IDLE, replace(IDLE, **{"at": 110, **change})) is same


def test_the_servers_own_page_is_read() -> None:
    counters = Counters()
    counters.answered("requests", 200, 0.01, 0.02, 0.04)
    counters.answered("pinned", 500, 0.0, 0.0, 0.5)
    counters.answered("synthetic", 200, 0.0, 0.0, 9.0)
    counters.answered("requests", 429, 0.0, 0.0, 0.0)

    found = parse_reading(metrics.exposition(counters, NOW), 7.0)

    assert (found.at, found.requests, found.answered, found.begun, found.in_flight) == (7.0, 4, 2, 2, 3)
    assert (found.started, found.busy, found.waited) == pytest.approx((counters.clock.start, 0.54, 0.01))
    assert found.gpu is None


def test_the_page_of_a_server_that_has_had_no_request_is_read() -> None:
    assert parse_reading(metrics.exposition(Counters(), NOW), 7.0).requests == 0


def test_of_several_gpus_the_busiest_counts() -> None:
    gpus = b'tidegate_gpu_utilization{gpu="a"} 0.25\ntidegate_gpu_utilization{gpu="b"} 0.5\n'

    assert parse_reading(metrics.exposition(Counters(), NOW) + gpus, 7.0).gpu == 0.5


@pytest.mark.parametrize("value", [b"NaN", b"+Inf", b"-1", b"x"])
def test_a_page_with_what_is_no_number_is_refused(value: bytes) -> None:
    page = metrics.exposition(Counters(), NOW).replace(b"in_flight{model", b"in_flight{was", 1)
    broken = page + b'tidegate_requests_in_flight{model="fraud"} ' + value + b"\n"

    with pytest.raises(Invalid, match="makes no sense"):
        parse_reading(broken, 7.0)


def test_a_page_of_something_else_is_refused() -> None:
    with pytest.raises(Invalid, match="lacks tidegate_"):
        parse_reading(b"<html>", 7.0)
