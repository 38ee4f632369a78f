"""Autoscalers where nothing serves metrics: their real words are understood, and the next step is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.cluster.operating import Operator, Site
from tests.control_plane.resources import Object
from tests.waiting import wait_until

from tidegate.cluster.autoscalers import METRICS_API, METRICS_SERVER, blind

pytestmark = pytest.mark.slow


NOBODY_SERVES_IT = "the server could not find the requested resource"


def failed(site: Site) -> Object | None:
    """The autoscaler, once it has asked; an API of an earlier test may take a moment to be gone."""
    found = next(iter(site.children("horizontalpodautoscalers")), {})
    conditions = found.get("status", {}).get("conditions") or []
    asked = (one for one in conditions if one["reason"].startswith("FailedGet"))
    return found if any(NOBODY_SERVES_IT in one["message"] for one in asked) else None


@pytest.mark.parametrize(("target", "step"), [("concurrency", METRICS_API), ("cpuUtilization", METRICS_SERVER)])
def test_an_autoscaler_without_metrics_is_understood(operator: Operator, site: Site, target: str, step: str) -> None:
    site.simulate("v1", scaling={"maxReplicas": 4, "target": {target: 4}})
    site.until_serving("v1")
    autoscaler = wait_until(lambda: failed(site), "the autoscaler has no metrics")
    now = datetime.now(UTC)

    found = blind(autoscaler, now + timedelta(minutes=1))

    assert blind(autoscaler, now) is None
    assert found
    assert found.message.endswith(step)
    assert NOBODY_SERVES_IT in found.message
