"""Versions that are judged by a Prometheus, which finds their servers as users' do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chart.helm import HOME, Helm, one
from tests.cluster.operating import QUICK
from tests.e2e.cluster.shelf import Shelf
from tests.e2e.cluster.story import Story
from tests.e2e.node import scrapes
from tests.e2e.node.node import Node

OPERATORS = 1500  # some 25 ms in the model, where the other versions take 0.1
SERVERS = "namespace={{namespace}}, model={{name}}, revision={{revision}}"
MEAN = f"""\
sum(rate(tidegate_compute_duration_seconds_sum{{{SERVERS}}}[10s]))
/ sum(rate(tidegate_compute_duration_seconds_count{{{SERVERS}}}[10s]))"""
BY_QUERY = {"prometheus": {"queries": [{"name": "time-in-model", "query": MEAN, "max": 0.005}]}}
JUDGED = {
    "steps": [{"weight": 50, "hold": "1s"}],
    "analysis": {**QUICK, **BY_QUERY, "minRequests": 20, "failureLimit": 2},
}


@pytest.fixture
def prometheus(installed: Node, helm: Helm, tmp_path: Path) -> Iterator[None]:
    """It runs, and the operator's settings name it."""

    def named(address: str) -> None:
        helm.upgrade(installed.plane, "--reset-then-reuse-values", "--set", f"prometheus.servers.main={address}")
        installed.kubectl("rollout", "status", "deployment/tidegate-operator", "-n", HOME, "--timeout=60s", seconds=70)

    monitor = one(helm.template({"monitoring": {"podMonitor": {"create": True}}}), "PodMonitor")
    with scrapes.running(installed, tmp_path, monitor) as address:
        named(address)
        yield
        named("null")


@pytest.fixture
def slow(shelf: Shelf) -> str:
    return shelf.publish_laboured("slow-by-query", OPERATORS)


@pytest.mark.usefixtures("prometheus")
def test_a_version_within_a_querys_limit_is_promoted_and_one_beyond_it_goes_back(story: Story, slow: str) -> None:
    story.given.a_model("v1", rollout=JUDGED).steady_clients()
    story.when.applied("v2")
    story.then.serves("v2").all_answers_come_from("v2")
    story.when.applied(slow)
    story.then.says("Stalled", "QueryFailed", "query time-in-model: ").answers_came_from("v1", "v2", slow)
    story.then.all_answers_come_from("v2").has_servers(1).no_client_saw_an_error()
