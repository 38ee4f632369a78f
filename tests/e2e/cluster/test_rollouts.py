"""New versions on a real node, by the commands that a person types, while clients ask all the time."""

from __future__ import annotations

from tests.e2e.cluster.story import Story

BY_HAND = {"steps": [{"weight": 50, "hold": "manual"}], "scaleDownDelay": "30s"}


def test_a_canary_is_promoted_and_rolled_back_by_command(story: Story) -> None:
    story.given.a_model("v1", rollout=BY_HAND).steady_clients()
    story.when.applied("v2")
    story.then.holds_at(50, "WaitingForPromote").answers_come_from("v1", "v2")
    story.when.tidegate("promote", "fraud")
    story.then.serves("v2").all_answers_come_from("v2")
    story.when.tidegate("rollback", "fraud")
    story.then.serves_instead("v1", "RolledBack").all_answers_come_from("v1").no_client_saw_an_error()


def test_a_damaged_bundle_is_refused_and_the_old_one_serves(story: Story) -> None:
    story.given.a_model("v1").steady_clients()
    story.when.applied("v3")
    story.then.says("Stalled", "GoldenMismatch").all_answers_come_from("v1").has_servers(1).no_client_saw_an_error()


def test_a_rollout_goes_on_when_the_operator_is_killed_at_its_start_and_between_two_steps(story: Story) -> None:
    story.given.a_model("v1", rollout=BY_HAND | {"scaleDownDelay": "0s"}).steady_clients()
    story.when.applied("v2").the_operator_is_killed()
    story.then.holds_at(50, "WaitingForPromote").answers_come_from("v1", "v2")
    story.when.the_operator_is_killed().tidegate("promote", "fraud")
    story.then.serves("v2").all_answers_come_from("v2").has_servers(1).no_client_saw_an_error()
