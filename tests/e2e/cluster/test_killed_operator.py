"""The leading operator dies by SIGKILL in every phase of a rollout, and the rollout ends as it would have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cluster.operating import fact
from tests.control_plane.resources import Object
from tests.e2e.cluster.gateway import Gateway
from tests.e2e.cluster.operators import Operators
from tests.e2e.cluster.story import Story, rollout
from tests.e2e.node.node import Node

# Each death costs the Lease's 15 seconds.
pytestmark = pytest.mark.timeout(300)
TWO = {"minReplicas": 2, "maxReplicas": 2}
TWO_STEPS = {"steps": [{"weight": 34, "hold": "2s"}, {"weight": 50, "hold": "2s"}], "scaleDownDelay": "20s"}
BY_HAND = {"steps": [{"weight": 50, "hold": "manual"}]}


@pytest.fixture
def operators(installed: Node) -> Iterator[Operators]:
    """Slow ones; new ones afterwards."""
    found = Operators(installed)
    found.slow_down()
    yield found
    found.renew()


def is_in(deployment: Object, phase: str, weight: int) -> bool:
    if phase == "Resolving":
        return fact(deployment, "Reconciling").get("reason") == phase
    found = rollout(deployment)
    return found.get("phase") == phase and found.get("weight", 0) == weight


def outcomes(deployment: Object) -> list[str]:
    return [entry["outcome"] for entry in deployment["status"]["history"]]


def test_a_rollout_is_promoted_though_its_operator_dies_in_each_phase(story: Story, operators: Operators) -> None:
    story.given.a_model("v1", scaling=TWO, rollout=TWO_STEPS).steady_clients()
    story.when.applied("v2")
    for phase, weight in (
        ("Resolving", 0), ("Proving", 0), ("Shifting", 34), ("Holding", 34), ("Holding", 50), ("Watching", 100),
    ):  # fmt: skip
        operators.kill_the_leader(lambda: is_in(story.now(), phase, weight), f"{phase} at {weight} %")  # noqa: B023
    story.then.serves("v2").all_answers_come_from("v2").has_servers(2).no_client_saw_an_error()
    assert outcomes(story.now()) == ["Promoted", "Promoted"]


def test_a_version_that_is_aborted_goes_though_its_operator_dies_on_the_way_back(
    story: Story, gateway: Gateway, operators: Operators
) -> None:
    story.given.a_model("v1", scaling=TWO, rollout=BY_HAND).steady_clients()
    story.when.applied("v2")
    story.then.holds_at(50, "WaitingForPromote").answers_come_from("v1", "v2")
    with gateway.without_its_controller():  # the way back ends when the gateway has taken the route
        story.when.a_command("abort")
        operators.kill_the_leader(lambda: is_in(story.now(), "Returning", 0), "Returning")
    story.then.serves_instead("v1", "Aborted").all_answers_come_from("v1").has_servers(2).no_client_saw_an_error()
    assert outcomes(story.now()) == ["Promoted", "RolledBack"]
