"""What is counted is what happened: per second and per ten, cumulative, and the same to every reader."""

from __future__ import annotations

import json
import threading
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.plan import evidence as plan_evidence
from tidegate_runtime.counters import EDGES, Counters, Lane, Totals
from tidegate_runtime.divergence import Clock, DivergenceCounter

NOON = 1_763_777_700  # a whole ten seconds


def lane() -> Lane:
    return Lane(Clock(0.0, NOON))


def counters() -> Counters:
    return Counters(clock=Clock(0.0, NOON + 0.5))


def test_the_edges_are_those_that_the_analysis_reads_with() -> None:
    assert plan_evidence.EDGES == EDGES
    assert EDGES[0] == 1e-4
    assert 60 <= EDGES[-1] <= 63
    assert all(b / a <= 1.0500001 for a, b in pairwise(EDGES))


def test_the_open_second_is_no_evidence_until_it_is_over() -> None:
    seen = lane()
    seen.add(3.2, 0.01, False)
    seen.add(3.9, 0.01, True)

    assert seen.read(NOON + 3).n == 0
    assert (seen.read(NOON + 4).n, seen.read(NOON + 4).errors) == (2, 1)


def test_a_quiet_second_is_read_again_and_again_without_counting_twice() -> None:
    seen = lane()
    seen.add(3.2, 0.01, False)

    assert [seen.read(NOON + 9).n for _ in range(3)] == [1, 1, 1]
    seen.add(20.0, 0.01, False)
    assert seen.read(NOON + 30).n == 2
    assert seen.read(NOON + 30).ones.bins == 2


@given(
    st.lists(
        st.tuples(st.floats(0, 40), st.floats(1e-5, 100), st.booleans()),
        max_size=60,
    ).map(lambda rows: sorted(rows, key=lambda row: row[0]))
)
def test_every_sum_of_squares_is_what_the_plain_formula_gives(rows: list[tuple[float, float, bool]]) -> None:
    seen = lane()
    for now, seconds, failed in rows:
        seen.add(now, seconds, failed)

    found = seen.read(NOON + 50)

    for length, scale in ((1, found.ones), (10, found.tens)):
        bins: dict[int, list[tuple[float, bool]]] = {}
        for now, seconds, failed in rows:
            bins.setdefault(int(now + NOON) // length, []).append((seconds, failed))
        assert scale.bins == len(bins)
        assert scale.error_squares == pytest.approx(sum(sum(f for _, f in b) ** 2 / len(b) for b in bins.values()))
        for edge in (0, 100, 273):
            slow = [sum(s > EDGES[edge] for s, _ in b) ** 2 / len(b) for b in bins.values()]
            assert scale.squares[edge] == pytest.approx(sum(slow))
    assert found.n == len(rows)
    assert int(found.counts.sum()) == len(rows)


def test_ten_seconds_count_only_when_all_of_them_are_over() -> None:
    seen = lane()
    for now in (1.0, 9.5, 12.0):
        seen.add(now, 0.01, True)

    assert seen.read(NOON + 10).tens.bins == 1
    assert seen.read(NOON + 19).tens.bins == 1
    assert seen.read(NOON + 20).tens.bins == 2
    assert seen.read(NOON + 20).tens.error_squares == pytest.approx(2 * 2 / 2 + 1)


def test_a_value_on_an_edge_is_not_slower_than_it() -> None:
    seen = lane()
    seen.add(1.0, EDGES[40], False)

    found = seen.read(NOON + 2)

    assert int(found.counts[41:].sum()) == 0
    assert int(found.counts[40]) == 1


def test_counters_never_go_back_while_another_thread_writes() -> None:
    seen, reads, over = lane(), [], threading.Event()

    def read() -> None:
        while not over.is_set():
            reads.append(seen.read(NOON + 10_000))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(30_000):
        seen.add(i / 1000, 0.001, i % 3 == 0)
    over.set()
    reader.join(timeout=10)

    assert all(earlier.n <= later.n and later.errors <= later.n for earlier, later in pairwise(reads))
    assert seen.read(NOON + 10_000).n == 30_000


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, {"n": 1, "k": 0, "clientErrors": 0, "throttled": 0}),
        (500, {"n": 1, "k": 1, "clientErrors": 0, "throttled": 0}),
        (504, {"n": 1, "k": 1, "clientErrors": 0, "throttled": 0}),
        (400, {"n": 0, "k": 0, "clientErrors": 1, "throttled": 0}),
        (429, {"n": 0, "k": 0, "clientErrors": 0, "throttled": 1}),
    ],
)
def test_only_the_servers_own_faults_are_errors(status: int, expected: dict[str, int]) -> None:
    seen = counters()
    seen.answered("requests", status, 0.0, 0.0, 0.01)

    found = seen.evidence(now=1e9)

    requests = found["requests"]
    assert {
        "n": requests["n"],
        "k": requests["errors"]["k"],
        "clientErrors": found["clientErrors"],
        "throttled": found["throttled"],
    } == expected


def test_pinned_requests_are_counted_apart() -> None:
    seen = counters()
    seen.answered("pinned", 500, 0.0, 0.0, 0.01)

    found = seen.evidence(now=1e9)

    assert (found["pinned"]["n"], found["requests"]["n"], found["synthetic"]["n"]) == (1, 0, 0)


def test_the_document_is_json_and_says_until_when_it_counts() -> None:
    found: dict[str, Any] = json.loads(orjson.dumps(counters().evidence(now=7.9)))

    assert found["apiVersion"] == "tidegate.io/evidence/v1"
    assert found["startTime"] == NOON + 0.5
    assert found["until"] == NOON + 8
    assert len(found["requests"]["latency"]["counts"]) == len(EDGES) + 1
    assert found["divergence"]["top1"] == {"k": 0, "squares": 0.0, "squares10": 0.0}


def test_a_reader_of_the_rollout_understands_the_document() -> None:
    seen = counters()
    seen.answered("requests", 500, 0.0, 0.0, 0.02)
    document = seen.evidence(now=1e9) | {"model": "fraud", "revision": "r1", "inFlight": 0, "queued": 0}
    document["divergence"]["dropped"] = 0

    sample = plan_evidence.parse_sample(json.loads(orjson.dumps(document)))

    assert (sample.requests.n, sample.requests.errors.bad, sample.revision) == (1, 1, "r1")


def test_one_more_second_leaves_the_totals_that_were_read_alone() -> None:
    seen = lane()
    seen.add(1.0, 0.01, True)
    before: Totals = seen.read(NOON + 2)
    counts = before.counts.copy()
    seen.add(2.0, 0.01, True)
    seen.add(3.0, 0.01, True)

    assert np.array_equal(before.counts, counts)
    assert before.n == 1


def test_divergence_counts_by_rule_and_keeps_the_worst_distance() -> None:
    seen = DivergenceCounter(Clock(0.0, NOON))
    seen.add(1.0, True, {"scores": (True, 0.5)})
    seen.add(1.5, False, {"scores": (False, 0.01)})
    seen.add(12.0, False, {"scores": (True, 0.7)})

    found = seen.read(NOON + 30).document()

    assert found["n"] == 3
    assert (found["bins"], found["bins10"]) == (2, 2)
    assert found["top1"] == {"k": 1, "squares": 0.5, "squares10": 0.5}
    assert found["outputs"] == {"scores": {"k": 2, "squares": 1.5, "squares10": 1.5, "worst": 0.7}}
