"""What stays without the chart.  The last file: all others need the operator."""

from __future__ import annotations

from tests.chart.helm import HOME, Helm
from tests.e2e.cluster.story import Story
from tests.e2e.node.node import Node


def test_without_the_chart_models_go_on_serving_until_they_are_deleted(
    story: Story, helm: Helm, installed: Node
) -> None:
    story.given.a_model("v1", scaling={"minReplicas": 2, "maxReplicas": 2}).steady_clients()

    helm.uninstall(installed.plane)
    installed.plane.until(lambda: installed.plane.client.list("pods", HOME) == [], "no operator is left")
    story.when.a_server_is_deleted()
    story.then.has_servers(2).all_answers_come_from("v1").no_client_saw_an_error()
    story.when.kubectl("delete", "modeldeployment", "fraud")
    story.then.nothing_is_left()
