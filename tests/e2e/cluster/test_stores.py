"""The bundles' store fails, or loses what it had, while real pods start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.cluster.shelf import Shelf
from tests.e2e.cluster.story import RESOURCES, Story

pytestmark = pytest.mark.timeout(400)
TWO = {"minReplicas": 2, "maxReplicas": 2}
LONG = 150.0  # messages may be a minute old
ONE_OF_THREE_BY_HAND = {"steps": [{"weight": 34, "hold": "manual"}, {"weight": 50, "hold": "1s"}]}


@pytest.fixture(autouse=True)
def store(shelf: Shelf) -> Iterator[None]:
    """Afterwards it is there for the next story."""
    yield
    if not shelf.server.runs:
        shelf.server.start()


def test_a_rollout_waits_at_its_weight_while_the_store_is_down_and_goes_on_by_itself(story: Story) -> None:
    story.given.a_model("v1", scaling=TWO, rollout=ONE_OF_THREE_BY_HAND).steady_clients()
    story.when.applied("v2")
    story.then.holds_at(34, "WaitingForPromote").answers_come_from("v1", "v2")
    story.when.the_store_stops().tidegate("promote", "fraud")
    story.then.holds_at(34, "Unreachable").says(
        "Reconciling", "Unreachable", "check the address and that the store runs"
    )
    story.then.answers_come_from("v1", "v2")
    story.when.the_store_is_back()
    story.then.serves("v2", LONG).all_answers_come_from("v2").has_servers(2).no_client_saw_an_error()


def test_a_version_that_is_named_while_the_store_is_down_is_tried_again(story: Story) -> None:
    story.given.a_model("v1").steady_clients()
    story.when.the_store_stops().applied("v2")
    story.then.says("Stalled", "Unreachable", "check the address and that the store runs").all_answers_come_from("v1")
    story.when.the_store_is_back().tidegate("retry", "fraud")
    story.then.serves("v2").all_answers_come_from("v2").has_servers(1).no_client_saw_an_error()


def test_servers_start_again_while_the_content_is_there_and_what_is_gone_is_told(story: Story) -> None:
    story.given.a_repository_of_its_own().a_model("v1", scaling=TWO).steady_clients()
    story.when.the_version_is_deleted("v1").a_server_is_deleted()
    story.then.has_servers(2)
    story.when.the_repository_is_emptied().a_server_is_deleted()
    story.then.says("Degraded", "StableNotReady", "1 of 2 servers ready: ", LONG).all_answers_come_from("v1")
    story.when.everything_is_published_again()
    story.then.has_servers(2, LONG).no_client_saw_an_error()


def test_servers_on_a_shared_volume_start_though_their_bundle_is_gone(story: Story) -> None:
    kept = {"resources": RESOURCES, "cache": {"persistentVolumeClaim": {"claimName": "bundles"}}}
    story.given.a_repository_of_its_own().a_volume("bundles").a_model("v1", scaling=TWO, runtime=kept).steady_clients()
    story.when.the_repository_is_emptied().a_server_is_deleted()
    story.then.has_servers(2)
    story.when.a_server_is_deleted()
    story.then.has_servers(2).all_answers_come_from("v1").no_client_saw_an_error()
