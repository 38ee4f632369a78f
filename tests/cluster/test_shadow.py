"""Versions that are judged by copies of requests, or by golden samples where nobody asks: real servers, real tokens."""

from __future__ import annotations

import re
import urllib.request
from typing import Any

import pytest
from tests.cluster.clients import Clients
from tests.cluster.operating import Operator, Site, fact, weight
from tests.control_plane.resources import Object
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
PATIENCE = 60.0
SHADOW_ALONE = {"steps": [], "shadow": {"percent": 100}, "scaleDownDelay": "0s"}


@pytest.fixture
def site(mounted: Site) -> Site:
    return mounted


def by_shadow(atol: float) -> dict[str, Any]:
    """A rollout without steps that compares answers; those of v2 differ from v1's by about 0.005."""
    limits = {"outputs": [{"name": "scores", "atol": atol, "rtol": 0.0, "maxShare": 0.1}]}
    analysis = {"interval": "1s", "warmup": "0s", "minRequests": 1, "confidence": 0.99, "maxDivergence": limits}
    return {**SHADOW_ALONE, "analysis": analysis}


def test_a_version_that_answers_otherwise_goes_back_before_it_gets_a_request(operator: Operator, site: Site) -> None:
    site.apply("v1")
    site.until_serving("v1")
    shares: list[int] = []

    with Clients(site) as clients:
        site.apply("v2", rollout=by_shadow(0.0001))

        def refused(found: Object) -> bool:
            shares.append(weight(found))
            return fact(found, "Stalled").get("status") == "True"

        found = site.until(refused, PATIENCE)
        clients.more(20, "v1")

    assert "scores" in fact(found, "Stalled")["message"]
    assert (clients.failures, set(clients.answers), max(shares)) == ([], {"v1"}, 0)


def test_a_version_that_answers_alike_is_promoted_by_copies_alone(operator: Operator, site: Site) -> None:
    site.apply("v1")
    site.until_serving("v1")

    with Clients(site) as clients:
        site.apply("v2", rollout=by_shadow(0.1))
        site.until_serving("v2", PATIENCE)
        clients.more(20, "v2")

    assert clients.failures == []
    told = [one["decision"] for one in operator.lines() if one.get("namespace") == site.namespace and "decision" in one]
    compared = [check["verdict"] for one in told for check in one["checks"] if check["name"] == "output/scores"]
    assert compared and set(compared) == {"pass"}


def test_where_nobody_asks_golden_samples_stand_in_for_users(operator: Operator, site: Site) -> None:
    site.apply("v1")
    site.until_serving("v1")
    analysis = {"interval": "1s", "warmup": "0s", "synthetic": {"rate": 20}}

    site.apply("v2", rollout={"steps": [{"weight": 50, "hold": "1s"}], "scaleDownDelay": "0s", "analysis": analysis})

    site.until_reason("Reconciling", "NoTraffic", PATIENCE)
    revision = site.until_serving("v2", PATIENCE)["status"]["stable"]["revision"]
    labels = {"serving.tidegate.io/revision": revision}
    (address,) = wait_until(
        lambda: site.front()["spec"]["selector"].items() >= labels.items() and site.endpoints(), "v2 alone is asked"
    )
    with urllib.request.urlopen(f"http://{address}:9090/metrics", timeout=5) as answer:
        events = dict(re.findall(r'tidegate_evidence_events_total{.*of="(\w+)".*} ([0-9.]+)', answer.read().decode()))
    assert float(events["synthetic"]) > 0
    assert float(events["requests"]) == 0
