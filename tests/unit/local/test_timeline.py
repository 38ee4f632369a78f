from __future__ import annotations

import json
from pathlib import Path

import pytest

from tidegate.local.measures import Meter, quantile
from tidegate.local.timeline import Timeline
from tidegate.plan.samples import EDGES, Clumps, Compared, PodSample, Traffic


def sample(instance: str, n: int, bad: int = 0, slow: int = 0, differing: int = 0) -> PodSample:
    """A server that has answered `n` requests, `slow` of them in the last bucket and the rest in the first."""
    counts = (n - slow, *(0,) * (len(EDGES) - 1), slow)
    traffic = Traffic(n=n, bins=n, errors=Clumps(bad), latency_counts=counts if n else ())
    compared = Compared(n, n, n, Clumps(differing), {}, 0)
    return PodSample(instance, "aaa", 0.0, 1.0, traffic, Traffic(), Traffic(), compared, 0, 0, 0, 0)


def test_figures_are_totals_and_the_rates_of_the_last_interval() -> None:
    meter = Meter({})
    meter.observe([sample("i", 100, bad=2, differing=5)])
    meter.keep(["aaa"])
    meter.close(10.0)
    meter.observe([sample("i", 150, bad=2, differing=5)])
    meter.close(10.0)

    found = meter.figures()["aaa"]

    assert (found["requests"], found["errors"], found["rps"]) == (150, 2, 5.0)
    assert found["divergence"] == pytest.approx(5 / 150)


def test_a_server_that_was_replaced_counts_on() -> None:
    meter = Meter({})
    meter.observe([sample("first", 100)])
    meter.observe([sample("second", 7)])

    assert meter.figures()["aaa"]["requests"] == 107


def test_a_server_that_had_no_request_at_the_first_look_is_counted_at_the_next() -> None:
    meter = Meter({})
    meter.observe([sample("i", 0)])
    meter.observe([sample("i", 10)])
    meter.close(1.0)

    assert meter.figures()["aaa"]["p50Ms"] is not None


def test_totals_go_on_after_a_restart_of_the_runner() -> None:
    meter = Meter({"aaa": {"requests": 40, "errors": 1}})
    meter.observe([sample("new", 2)])

    assert (meter.figures()["aaa"]["requests"], meter.figures()["aaa"]["errors"]) == (42, 1)


def test_a_version_that_is_no_longer_served_is_forgotten() -> None:
    meter = Meter({})
    meter.observe([sample("i", 3)])
    meter.keep(["bbb"])

    assert list(meter.figures()) == ["bbb"]


def test_the_slowest_percent_is_at_the_upper_edge_of_its_bucket() -> None:
    counts = [98, *[0] * 99, 2, *[0] * (len(EDGES) - 100)]

    assert quantile(counts, 0.5) == pytest.approx(EDGES[0] * 1000, abs=1e-3)
    assert quantile(counts, 0.99) == pytest.approx(EDGES[100] * 1000, abs=1e-3)
    assert quantile([0, 0], 0.5) is None


def test_the_file_never_grows_beyond_two_of_its_limit(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path / "timeline.jsonl", limit=1000)
    for number in range(200):
        timeline.append({"number": number})

    assert timeline.path.stat().st_size + timeline.older.stat().st_size <= 2000
    assert timeline.last() == {"number": 199}
    assert json.loads(timeline.older.read_text().splitlines()[-1])["number"] < 199


def test_a_damaged_last_row_is_a_lost_one(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path / "timeline.jsonl")
    timeline.path.write_text('{"at": "2026')

    assert timeline.last() == {}
