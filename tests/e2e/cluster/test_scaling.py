"""The number of real servers follows the load that they count themselves, with nothing but the chart installed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.chart.helm import HOME, Helm
from tests.e2e.cluster.story import Story
from tests.e2e.node.node import Node

# One client asks at most 50 times a second: two never want a second server, twelve do on the slowest machine.
BY_REQUESTS = {
    "minReplicas": 1, "maxReplicas": 3, "target": {"requestsPerSecond": 120},
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
}  # fmt: skip


@pytest.fixture
def external_metrics(installed: Node, helm: Helm) -> Iterator[None]:
    """As docs/autoscaling.md says."""

    def enabled(truth: str) -> None:
        helm.upgrade(installed.plane, "--reset-then-reuse-values", "--set", f"metricsApi.enabled={truth}")
        installed.kubectl("rollout", "status", "deployment/tidegate-operator", "-n", HOME, "--timeout=60s", seconds=70)

    enabled("true")
    served = "apiservice/v1beta1.external.metrics.k8s.io"
    installed.kubectl("wait", "--for=create", served, "--timeout=50s")
    installed.kubectl("wait", "--for=condition=Available", served, "--timeout=50s")
    yield
    enabled("false")


def served(story: Story, metric: str) -> str:
    path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{story.namespace}/{metric}?labelSelector=model%3Dfraud"
    [item] = json.loads(story.node.kubectl("get", "--raw", path))["items"]
    return str(item["value"])


@pytest.mark.usefixtures("external_metrics")
def test_servers_come_with_the_load_and_go_with_it(story: Story) -> None:
    story.given.a_model("v1", scaling=BY_REQUESTS).steady_clients(2)
    story.when.the_load_rises(12)
    with story.times.measured("from more load until a second server is ready"):
        story.then.has_more_servers_than(1)
    assert served(story, "tidegate_concurrency") != "0"
    story.when.the_load_falls()
    story.then.has_servers(1).all_answers_come_from("v1").no_client_saw_an_error()
