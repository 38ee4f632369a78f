from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tidegate.cluster.metrics import Metrics


def values(metrics: Metrics) -> dict[str, float]:
    """Every sample of the page: `name{label,…}` -> value."""
    found = {}
    for family in text_string_to_metric_families(metrics.page().decode()):
        for sample in family.samples:
            labels = ",".join(value for key, value in sorted(sample.labels.items()) if key != "le")
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_what_was_done_is_counted() -> None:
    metrics = Metrics()
    metrics.reconciled("ok", 0.02)
    metrics.reconciled("conflict", 0.01)
    metrics.requested("create", "201", 0.003)
    metrics.rolled_out("promoted", 90.0)
    metrics.told("dropped")

    found = values(metrics)

    assert found["tidegate_reconciles_total{ok}"] == 1
    assert found["tidegate_reconcile_seconds_count{}"] == 2
    assert found["tidegate_api_requests_total{201,create}"] == 1
    assert found["tidegate_api_request_seconds_count{create}"] == 1
    assert found["tidegate_rollouts_total{promoted}"] == 1
    assert found["tidegate_verdict_seconds_sum{}"] == 90
    assert found["tidegate_events_total{dropped}"] == 1


def test_figures_of_others_are_read_when_they_are_asked_for() -> None:
    metrics, depth, ages = Metrics(), [1.0], {"pods": 5.0}
    metrics.show("tidegate_queue_depth", "Deployments that wait.", lambda: depth[0])
    metrics.show_by("tidegate_watch_age_seconds", "Since a kind was heard of.", "kind", lambda: ages)
    depth[0] = 7
    ages["jobs"] = 3.0

    found = values(metrics)

    assert found["tidegate_queue_depth{}"] == 7
    assert found["tidegate_watch_age_seconds{pods}"] == 5
    assert found["tidegate_watch_age_seconds{jobs}"] == 3


def test_two_operators_in_one_process_do_not_mix() -> None:
    first, second = Metrics(), Metrics()
    first.told("posted")

    assert values(first)["tidegate_events_total{posted}"] == 1
    assert "tidegate_events_total{posted}" not in values(second)


def test_memory_and_processor_time_are_there_too() -> None:
    assert values(Metrics())["process_resident_memory_bytes{}"] > 0
