"""Prometheus' own parser reads what we write, and finds the figures that were counted."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tidegate_runtime.batching import Batching
from tidegate_runtime.counters import Counters
from tidegate_runtime.divergence import Clock
from tidegate_runtime.metrics import Now, exposition

LABELS = {"model": 'fra"ud\\\n', "version": "v1", "revision": "7"}


@pytest.fixture
def counters() -> Counters:
    return Counters(clock=Clock(0.0, 1_763_777_700.0))


def scrape(counters: Counters) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Every sample by name and labels other than model, version and revision."""
    now = Now(LABELS, True, 3, 2, 5, 0, {"scores": 1e-6}, 4, Batching(1, "NoGain", "it costs as much"))
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(exposition(counters, now).decode()):
        assert family.name.startswith("tidegate_")
        assert family.documentation
        for sample in family.samples:
            assert {name: sample.labels[name] for name in LABELS} == LABELS
            rest = tuple(sorted((k, v) for k, v in sample.labels.items() if k not in LABELS))
            found.setdefault(sample.name, {})[rest] = sample.value
    return found


def test_requests_are_counted_by_code(counters: Counters) -> None:
    for status in (200, 200, 400, 500):
        counters.answered("requests", status, 0.001, 0.002, 0.003)

    requests = scrape(counters)["tidegate_requests_total"]

    assert requests == {(("code", "200"),): 2, (("code", "400"),): 1, (("code", "500"),): 1}


def test_the_buckets_of_every_histogram_rise_to_its_count(counters: Counters) -> None:
    for seconds in (0.00005, 0.003, 0.5, 1000.0):
        counters.answered("requests", 200, seconds, seconds, seconds)
    counters.ran(8, 3)

    found = scrape(counters)

    for name in ("queue_duration_seconds", "compute_duration_seconds", "request_duration_seconds", "batch_rows"):
        by_traffic: dict[str, list[tuple[float, float]]] = {}
        for labels, value in found[f"tidegate_{name}_bucket"].items():
            row = dict(labels)
            by_traffic.setdefault(row.get("traffic", ""), []).append((float(row["le"]), value))
        for traffic, buckets in by_traffic.items():
            values = [value for _, value in sorted(buckets)]
            key = (("traffic", traffic),) if traffic else ()
            assert values == sorted(values)
            assert values[-1] == found[f"tidegate_{name}_count"][key]
    assert found["tidegate_request_duration_seconds_sum"][(("traffic", "requests"),)] == pytest.approx(1000.50305)
    assert found["tidegate_batch_requests_count"] == {(): 1}


def test_the_state_of_the_moment_is_there(counters: Counters) -> None:
    counters.left()
    counters.divergence.add(1.0, True, {"scores": (True, 0.25)})

    found = scrape(counters)

    assert found["tidegate_ready"] == {(): 1}
    assert found["tidegate_requests_in_flight"] == {(): 3}
    assert found["tidegate_requests_queued"] == {(): 2}
    assert found["tidegate_connections"] == {(): 5}
    assert found["tidegate_clients_left_total"] == {(): 1}
    assert found["tidegate_golden_worst_error"] == {(("output", "scores"),): 1e-6}
    assert found["tidegate_batching"] == {(("reason", "NoGain"),): 0}
    assert found["tidegate_shadow_dropped_total"] == {(): 4}
    assert found["tidegate_diverged_total"] == {(("rule", "top1"),): 1, (("rule", "output:scores"),): 1}
    assert found["tidegate_divergence_worst"] == {(("output", "scores"),): 0.25}
