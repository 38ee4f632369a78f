"""Autoscalers where nothing serves metrics: their real words are understood, and the next step is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.cluster.operating import Operator, Site
from tests.control_plane.resources import Object

from tidegate.cluster.autoscalers import METRICS_API, METRICS_SERVER, blind

pytestmark = pytest.mark.slow


def autoscaler(site: Site) -> Object:
    [found] = site.children("horizontalpodautoscalers")
    return found


def has_failed(site: Site) -> bool:
    conditions = autoscaler(site).get("status", {}).get("conditions") or []
    return any(one["reason"].startswith("FailedGet") for one in conditions)


@pytest.mark.parametrize(("target", "step"), [("concurrency", METRICS_API), ("cpuUtilization", METRICS_SERVER)])
def test_an_autoscaler_without_metrics_is_understood(operator: Operator, site: Site, target: str, step: str) -> None:
    site.simulate("v1", scaling={"maxReplicas": 4, "target": {target: 4}})
    site.until_serving("v1")
    operator.until(lambda: has_failed(site), "the autoscaler has no metrics")
    now = datetime.now(UTC)

    found = blind(autoscaler(site), now + timedelta(minutes=1))

    assert blind(autoscaler(site), now) is None
    assert found
    assert found.message.endswith(step)
    assert "the server could not find the requested resource" in found.message
