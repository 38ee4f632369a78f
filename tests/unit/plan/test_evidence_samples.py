"""Reading what a server says of itself: exactly what the runtime writes, and nothing that makes no sense."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import pytest

from tidegate.errors import Invalid
from tidegate.plan.evidence import EDGES, latency_quantile, parse_sample
from tidegate.plan.samples import Clumps, Traffic
from tidegate_runtime import counters
from tidegate_runtime.divergence import Clock

from .servers import Server


def document() -> dict[str, Any]:
    return Server("aa", "stable").answers(50, 1, 10).compares(10, 1, 2, 10).document(10)


def test_the_edges_are_those_of_the_runtime() -> None:
    assert EDGES == counters.EDGES


def test_a_document_of_the_runtime_is_read_as_it_was_counted() -> None:
    clock = Clock(0.0, 1000.0)
    counted = counters.Counters(clock=clock)
    for second in range(12):
        counted.lanes["requests"].add(second, 0.2, second == 3)
        counted.lanes["requests"].add(second, 0.01, False)
        counted.lanes["synthetic"].add(second, 0.01, True)
    extra = {"model": "fraud", "revision": "r1", "inFlight": 1, "queued": 2}
    written = json.loads(json.dumps({**counted.evidence(20.0), **extra}))
    written["divergence"]["dropped"] = 3
    sample = parse_sample(written)
    assert (sample.instance, sample.revision, sample.start_time, sample.until) == (counted.instance, "r1", 1000, 1020)
    assert (sample.requests.n, sample.requests.bins, sample.requests.errors.bad) == (24, 12, 1)
    assert sample.requests.errors.squares == pytest.approx(0.5)
    assert sample.requests.slower_than(bisect_left(EDGES, 0.1)).bad == 12
    assert (sample.synthetic.n, sample.synthetic.errors.bad, sample.pinned.n) == (12, 12, 0)
    assert (sample.in_flight, sample.queued, sample.divergence.dropped) == (1, 2, 3)


def test_everything_in_a_document_is_read() -> None:
    sample = parse_sample(document())
    assert sample.divergence.outputs["scores"].bad == 20
    assert sample.divergence.outputs["scores"].squares == pytest.approx(4.0)
    assert sample.divergence.top1.bad == 10


def change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def changed(written: dict[str, Any]) -> None:
        *parts, last = path.split(".")
        for part in parts:
            written = written[part]
        written[last] = value

    return changed


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("instance", ""),
        ("instance", 7),
        ("revision", "r" * 65),
        ("startTime", float("nan")),
        ("until", -1),
        ("requests", None),
        ("requests.n", -1),
        ("requests.n", True),
        ("requests.n", 1.5),
        ("requests.errors", []),
        ("requests.errors.k", 501),
        ("requests.errors.squares", "0"),
        ("requests.latency.edges", [0.1]),
        ("requests.latency.edges", [2 * edge for edge in EDGES]),
        ("requests.latency.counts", [0]),
        ("requests.latency.squares", None),
        ("requests.latency.squares10", [float("inf")] * len(EDGES)),
        ("synthetic.errors.k", 1),
        ("divergence.outputs", {str(i): {"k": 0, "squares": 0, "squares10": 0} for i in range(257)}),
        ("divergence.top1.k", None),
        ("queued", None),
    ],
)
def test_a_document_that_makes_no_sense_is_refused_as_a_whole(path: str, value: object) -> None:
    written = document()
    change(path, value)(written)
    with pytest.raises(Invalid, match="makes no sense"):
        parse_sample(written)


@pytest.mark.parametrize("written", [None, [], "{}", {}, {"apiVersion": "tidegate.io/evidence/v2"}])
def test_a_document_of_another_kind_or_version_is_refused(written: object) -> None:
    with pytest.raises(Invalid, match="not of a version"):
        parse_sample(written)


def test_quantiles_are_read_off_the_histograms_of_all_servers() -> None:
    fast, slow = Server("a", "stable").answers(98, 0, 10), Server("b", "stable").answers(2, 0, 10, slow=2)
    samples = [fast.sample(10), slow.sample(10)]
    assert latency_quantile(samples, 0.5) == pytest.approx(0.01, rel=0.05)
    assert latency_quantile(samples, 0.98) == pytest.approx(0.01, rel=0.05)
    assert latency_quantile(samples, 0.99) == pytest.approx(1.0, rel=0.05)
    assert latency_quantile([], 0.5) is None


def test_a_quantile_beyond_the_last_edge_is_the_last_edge() -> None:
    counts = (0,) * len(EDGES) + (10,)
    sample = Server("a", "stable").sample(0)
    stuck = type(sample)(**{name: getattr(sample, name) for name in sample.__slots__} | {"requests": Traffic(
        10, 1, 1, Clumps(), counts, (0.0,) * len(EDGES), (0.0,) * len(EDGES))})  # fmt: skip
    assert latency_quantile([stuck], 0.5) == EDGES[-1]


def test_without_a_histogram_nothing_is_slow() -> None:
    assert Traffic(10, 1).slower_than(3) == Clumps()
