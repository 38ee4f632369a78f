"""From one command of helm to a model that answers on a real node."""

from __future__ import annotations

from pathlib import Path

from tests.chart.helm import HOME
from tests.control_plane.plane import has_condition
from tests.e2e.cluster.story import Story
from tests.e2e.node.node import Node

EXAMPLE = Path(__file__).parents[3] / "examples/minimal.yaml"


def test_the_chart_brings_two_operators_that_are_ready(installed: Node) -> None:
    found = installed.plane.client.read("deployments", HOME, "tidegate-operator")

    assert found["status"]["readyReplicas"] == 2
    assert has_condition(found, "Available")


def test_a_first_model_answers(story: Story) -> None:
    story.given.a_model("v1").steady_clients()
    story.then.all_answers_come_from("v1").no_client_saw_an_error()


def test_the_commands_of_the_install_page_bring_a_model(story: Story) -> None:
    story.given.a_secret("s3-credentials")
    story.when.kubectl("apply", "-f", str(EXAMPLE))
    story.then.kubectl("wait", "--for=condition=Ready", "mdep/fraud", "--timeout=50s")
    story.given.steady_clients()
    story.then.all_answers_come_from("v1").no_client_saw_an_error()


def test_a_model_that_is_deleted_leaves_nothing(story: Story) -> None:
    story.given.a_model("v1")
    story.when.kubectl("delete", "modeldeployment", "fraud")
    story.then.nothing_is_left()
