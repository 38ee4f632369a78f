"""New versions behind a real gateway on a real node: exact weights, versions that are sent back, a dead Envoy."""

from __future__ import annotations

import pytest
from tests.e2e.cluster.gateway import Gateway
from tests.e2e.cluster.shelf import Shelf
from tests.e2e.cluster.story import Story

BY_HAND = {
    "steps": [{"weight": 10, "hold": "manual"}, {"weight": 50, "hold": "manual"}],
    "scaleDownDelay": "0s",
}
OPERATORS = 200  # some 3 ms in the model, where the other versions take 0.1
JUDGED = {"interval": "1s", "warmup": "0s", "minRequests": 20, "confidence": 0.99}
BY_LATENCY = {
    "steps": [{"weight": 30, "hold": "10m"}],  # only the verdict ends it
    "analysis": {**JUDGED, "maxLatencyIncrease": {"p50": "100%"}},
}
CLOSE = {"outputs": [{"name": "scores", "atol": 0.0001, "rtol": 0.0, "maxShare": 0.1}]}  # v2 differs by some 0.005
BY_SHADOW = {"steps": [], "shadow": {"percent": 100}, "analysis": {**JUDGED, "maxDivergence": CLOSE}}


@pytest.fixture(scope="module")
def slow(shelf: Shelf) -> str:
    """A version that answers rightly, and takes its time for it."""
    return shelf.publish_laboured("slow", OPERATORS)


def test_a_canary_gets_exactly_its_weights_until_it_is_promoted(story: Story, gateway: Gateway) -> None:
    story.given.a_model("v1", rollout=BY_HAND).steady_clients()
    story.when.applied("v2")
    story.then.holds_at(10, "WaitingForPromote")
    gateway.gives_exactly(10, "v2")
    story.when.tidegate("promote", "fraud")
    story.then.holds_at(50, "WaitingForPromote")
    gateway.gives_exactly(50, "v2")
    story.when.tidegate("promote", "fraud")
    story.then.serves("v2").all_answers_come_from("v2").has_servers(1).no_client_saw_an_error()


def test_a_slow_version_is_sent_back_by_what_clients_had_to_wait(story: Story, gateway: Gateway, slow: str) -> None:
    story.given.a_model("v1").steady_clients()
    story.when.applied(slow, rollout=BY_LATENCY)
    gateway.takes_back(30, slow)
    story.then.says("Stalled", "LatencyIncreased").answers_came_from("v1", slow)
    story.then.all_answers_come_from("v1").has_servers(1).no_client_saw_an_error()


@pytest.mark.usefixtures("gateway")
def test_a_version_that_answers_otherwise_is_sent_back_before_it_gets_a_request(story: Story) -> None:
    story.given.a_model("v1").steady_clients()
    story.when.applied("v2", rollout=BY_SHADOW)
    story.then.says("Stalled", "DivergenceExceeded", "scores").has_servers(1).all_answers_come_from("v1")
    story.then.answers_came_from("v1").no_client_saw_an_error()


def test_envoy_is_killed_in_a_rollout_and_clients_that_come_when_it_is_back_see_the_weight_of_by_then(
    story: Story, gateway: Gateway
) -> None:
    story.given.a_model("v1", rollout=BY_HAND).steady_clients()
    story.when.applied("v2")
    story.then.holds_at(10, "WaitingForPromote").answers_come_from("v1", "v2").no_client_saw_an_error()

    with gateway.without_envoy():
        story.given.clients_of_the_service()
        story.then.answers_come_from("v1").no_client_saw_an_error()
        story.when.tidegate("promote", "fraud")
        story.then.holds_at(50, "WaitingForPromote")
    story.given.steady_clients()
    gateway.gives_exactly(50, "v2")
    story.when.tidegate("promote", "fraud")
    story.then.serves("v2").all_answers_come_from("v2").no_client_saw_an_error()
