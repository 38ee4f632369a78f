"""An autoscaler that does not know the load is told of, once that has lasted, with the next step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidegate.cluster.autoscalers import blind, blind_in

SINCE = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MISSING = "the server could not find the requested resource (get tidegate_concurrency.external.metrics.k8s.io)"
SAID = (
    "the HPA was unable to compute the replica count: unable to get external metric shop/tidegate_concurrency/"
    "&LabelSelector{MatchLabels:map[string]string{model: fraud,revision: 0123456789,},"
    "MatchExpressions:[]LabelSelectorRequirement{},}: "
)


def autoscaler(
    status: str = "False",
    reason: str = "FailedGetExternalMetric",
    message: str = f"{SAID}unable to fetch metrics from external metrics API: {MISSING}",
) -> dict[str, Any]:
    about = {"lastTransitionTime": "2026-01-01T12:00:00Z", "message": message}
    able = {"type": "AbleToScale", "status": "True", "reason": "SucceededGetScale", **about}
    return {"status": {"conditions": [able, {"type": "ScalingActive", "status": status, "reason": reason, **about}]}}


def test_a_missing_source_of_metrics_is_told_after_a_minute_with_the_next_step() -> None:
    assert blind(autoscaler(), SINCE + timedelta(seconds=59)) is None

    found = blind(autoscaler(), SINCE + MINUTE)

    assert found
    assert found.reason == "LoadUnknown"
    assert found.message.startswith(f"the autoscaler does not know the load: {MISSING}: set metricsApi.enabled")


def test_an_adapter_that_has_no_such_metric_is_told_apart() -> None:
    nothing = "no metrics returned from external metrics API"

    found = blind(autoscaler(message=SAID + nothing), SINCE + MINUTE)

    assert found
    assert f"load: {nothing}: set" in found.message


def test_where_cpu_is_not_known_metrics_server_is_missing() -> None:
    found = blind(autoscaler(reason="FailedGetContainerResourceMetric"), SINCE + MINUTE)

    assert found
    assert found.message.endswith("install metrics-server")


def test_it_is_looked_at_again_when_the_minute_is_over() -> None:
    assert blind_in(autoscaler(), SINCE + timedelta(seconds=20)) == timedelta(seconds=40)
    assert blind_in(autoscaler(), SINCE + MINUTE) is None


@pytest.mark.parametrize(
    "found", [None, {}, autoscaler("True", "ValidMetricFound"), autoscaler("False", "ScalingDisabled")]
)
def test_one_that_knows_the_load_or_is_switched_off_is_as_it_should_be(found: dict[str, Any] | None) -> None:
    assert blind(found, SINCE + timedelta(hours=1)) is None
    assert blind_in(found, SINCE) is None
