"""The number of real servers follows the CPU time that they use, as metrics-server tells it: what is held by default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.operating import ready
from tests.e2e.cluster.shelf import Shelf
from tests.e2e.cluster.story import PATIENCE, RESOURCES, Story
from tests.e2e.node import metrics_server as server
from tests.e2e.node.node import CommandFailed, Node
from tests.waiting import wait_until

# The target is 70 % of what a server asks for, 0.17 of a CPU.  Two clients of one row, each of at most 50 requests a
# second, use 0.05; those of many rows five times that on the busiest machine, and far more on others.
OPERATORS, CLIENTS, ROWS = 4, 12, 32
ASKED = {**RESOURCES, "requests": {**RESOURCES["requests"], "cpu": "240m"}}
TARGET = 70
LONG = 100.0  # a load is known after up to twenty seconds
BY_CPU = {"minReplicas": 1, "maxReplicas": 2, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}


pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def metrics_server(installed: Node, tmp_path: Path) -> Iterator[None]:
    with server.running(installed, tmp_path):
        yield


@pytest.fixture
def laboured(shelf: Shelf) -> str:
    return shelf.publish_laboured("laboured", OPERATORS)


def used(story: Story) -> dict[str, int]:
    """The story's pods by `kubectl top`, each with thousandths of a CPU; none while nothing is known of them."""
    try:
        told = story.node.kubectl("top", "pods", "--no-headers", "-n", story.namespace)
    except CommandFailed as error:
        assert "not available" in str(error), error
        return {}
    rows = [line.split() for line in told.splitlines()]
    return {name: int(cpu.removesuffix("m")) for name, cpu, *_ in rows}


def until_top_has_all(story: Story) -> None:
    """All servers, and nothing else; it knows of a pod some twenty seconds late."""
    what = "kubectl top pods has all servers and nothing else"
    wait_until(lambda: used(story).keys() == story.server_names(), lambda: f"{what}: {used(story)}", PATIENCE)


def utilization(story: Story) -> int | None:
    """In percent of what the servers ask for, as the autoscaler has seen it last; None while it has not."""
    [autoscaler] = story.node.plane.client.list("horizontalpodautoscalers", story.namespace)
    for metric in autoscaler["status"].get("currentMetrics") or ():
        found: int | None = metric.get("containerResource", {}).get("current", {}).get("averageUtilization")
        return found
    return None


@pytest.mark.usefixtures("metrics_server")
def test_servers_come_with_the_cpu_time_that_they_use_and_go_with_it(story: Story, laboured: str) -> None:
    story.given.a_model(laboured, scaling=BY_CPU, runtime={"resources": ASKED}).steady_clients(2)
    wait_until(lambda: 0 < (utilization(story) or 0) < TARGET, lambda: f"few clients: {utilization(story)} %", PATIENCE)
    story.then.has_servers(1)
    until_top_has_all(story)

    story.when.the_load_rises(CLIENTS, ROWS)
    with story.times.measured("from more load until a second server is ready, by CPU"):
        wait_until(lambda: sum(map(ready, story.servers())) == 2, lambda: f"a second one: {used(story)}", LONG)
    until_top_has_all(story)
    story.when.the_load_falls()
    with story.times.measured("from less load until one server is left, by CPU"):
        story.then.has_servers(1, LONG)
    story.then.all_answers_come_from(laboured).no_client_saw_an_error()
