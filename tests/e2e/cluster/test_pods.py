"""What only a node shows of a model's pods: signals, limits, probes."""

from __future__ import annotations

import signal

import pytest
from tests.e2e.cluster.story import Story

TWO = {"minReplicas": 2, "maxReplicas": 2}


def limited(memory: str) -> dict[str, object]:
    return {"resources": {"requests": {"cpu": "50m", "memory": memory}, "limits": {"memory": memory}}}


def test_a_server_that_is_deleted_drains(story: Story) -> None:
    story.given.a_model("v1", scaling=TWO).steady_clients()
    story.when.a_server_is_deleted()
    story.then.has_servers(2)
    story.when.a_server_is_deleted()
    story.then.has_servers(2).no_client_saw_an_error()


def test_a_drain_of_the_node_leaves_a_server_that_answers(story: Story) -> None:
    story.given.a_model("v1", scaling=TWO).steady_clients()
    story.when.the_node_is_drained_in_vain()
    story.then.all_answers_come_from("v1")
    story.when.the_node_is_back()
    story.then.has_servers(2).no_client_saw_an_error()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_that_dies_or_hangs_is_restarted(story: Story, number: signal.Signals) -> None:
    story.given.a_model("v1", scaling=TWO, runtime={**limited("256Mi"), "grace": "1s"})
    story.when.a_server_gets(number)
    story.then.a_server_was_restarted().has_servers(2)
    story.given.steady_clients()
    story.then.all_answers_come_from("v1").no_client_saw_an_error()


def test_too_little_memory_is_told_and_the_old_version_serves(story: Story) -> None:
    story.given.a_model("v1").steady_clients()
    story.when.applied("v2", runtime=limited("40Mi"))
    story.then.says("Reconciling", "OutOfMemory", "raise limits.memory").all_answers_come_from("v1")
    story.when.applied("v2", runtime=limited("512Mi"))
    story.then.serves("v2").no_client_saw_an_error()
