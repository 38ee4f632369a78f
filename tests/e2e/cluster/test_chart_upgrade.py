"""The real `helm upgrade` from a chart whose CRD knows less, while models serve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.chart.before import chart_of_before, fields
from tests.chart.helm import CHART, HOME, Helm
from tests.e2e.cluster.story import Story
from tests.e2e.images import given
from tests.e2e.node.node import Node

CRD = "modeldeployments.serving.tidegate.io"
TWO = {"minReplicas": 2, "maxReplicas": 2}
BY_HAND = {"steps": [{"weight": 50, "hold": "manual"}]}
Upgrade = Callable[[], None]


@pytest.fixture
def upgrade(installed: Node, helm: Helm, tmp_path: Path) -> Iterator[Upgrade]:
    """The cluster has the chart of before with the images of now; this brings the chart of now."""
    tags = [given()[target].name.rpartition(":")[2] for target in ("operator", "cpu")]
    chosen = f"image.tag={tags[0]},runtimeImage.tag={tags[1]}"

    def to(chart: Path, *more: str) -> None:
        helm.upgrade(installed.plane, "--reset-then-reuse-values", *more, chart=chart)
        installed.kubectl("rollout", "status", "deployment/tidegate-operator", "-n", HOME, "--timeout=60s", seconds=70)

    to(chart_of_before(tmp_path), "--set", chosen)
    assert not knows_pauses(installed)
    yield lambda: to(CHART)
    to(CHART)


def knows_pauses(node: Node) -> bool:
    return "paused" in fields(node.plane.client.read("customresourcedefinitions", "", CRD), "spec")


def test_a_chart_with_a_new_crd_restarts_no_server(story: Story, upgrade: Upgrade) -> None:
    story.given.a_model("v1", scaling=TWO).steady_clients()
    before = story.server_names()
    upgrade()
    story.then.all_answers_come_from("v1")
    story.when.applied("v1", paused=True)  # which only the new CRD keeps
    story.then.until(lambda one: one["spec"].get("paused")).serves("v1").no_client_saw_an_error()
    assert story.server_names() == before


def test_a_rollout_goes_on_under_a_chart_with_a_new_crd(story: Story, upgrade: Upgrade) -> None:
    story.given.a_model("v1", rollout=BY_HAND).steady_clients()
    story.when.applied("v2")
    story.then.holds_at(50, "WaitingForPromote").answers_come_from("v1", "v2")
    before = story.server_names()
    upgrade()
    story.when.applied("v2", paused=True)
    story.then.holds_at(50, "Paused").answers_come_from("v1", "v2")
    assert story.server_names() == before
    story.when.applied("v2", paused=False).tidegate("promote", "fraud")
    story.then.serves("v2").all_answers_come_from("v2").has_servers(1).no_client_saw_an_error()
