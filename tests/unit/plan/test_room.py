"""Few GPUs: what `surge: Auto` becomes, what it waits for, and that no server stops without a way back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from tidegate.plan.observed import Failure, FailureClass

from .conftest import Story

GPU: dict[str, Any] = {"device": "cuda", "accelerator": {}}
SLICE: dict[str, Any] = {"device": "cuda", "accelerator": {"resource": "nvidia.com/mig-1g.5gb"}}
WRONG = Failure(FailureClass.CONTENT, "GoldenMismatch", "y differs: pack again")


@pytest.fixture
def crowded() -> Callable[..., Story]:
    """v1 serves on GPUs, of which there are so many in all."""

    def of(gpus: int, servers: int = 2, runtime: dict[str, Any] = GPU, **rollout: Any) -> Story:
        story = Story(runtime=runtime, scaling={"minReplicas": servers}, steps=[50], rollout=rollout)
        story.world.gpus = gpus
        return story.serving("v1")

    return of


Crowded = Callable[..., Story]


def chosen(story: Story) -> str:
    return story.status.rollout.surge if story.status.rollout else ""


def wait(story: Story) -> Story:
    """Long enough to know that a GPU does not come by itself."""
    return story.runs("30s")


def most_proofs(story: Story) -> int:
    return sum(plan.resolve is not None and plan.resolve.prove for plan in story.world.plans)


# -- there is room


def test_auto_surges_where_a_whole_second_set_of_servers_gets_gpus(crowded: Crowded) -> None:
    story = crowded(gpus=4).apply("v2").settle()

    assert chosen(story) == "Surge"
    assert story.status.rollout is not None
    assert story.status.rollout.surge_message == "2 of 2 new servers have a node beside the old ones"
    assert story.told("SurgeChosen") == 1
    assert story.until(lambda story: story.stable == "v2").replicas["v2"] == 2
    assert most_proofs(story) == 0


def test_the_whole_second_set_is_asked_for_before_any_weight_moves(crowded: Crowded) -> None:
    story = crowded(gpus=12, servers=4)
    story.world.gpus = 4

    story.apply("v2").settle()

    assert story.replicas == {"v1": 4, "v2": 4}
    assert story.weights == {"v1": 100}


@pytest.mark.parametrize("exact", [True, False])
def test_servers_that_only_asked_for_room_go_before_any_request_comes(crowded: Crowded, exact: bool) -> None:
    story = crowded(gpus=8, servers=4)
    story.world.exact_weights = exact

    story.apply("v2", steps=[(20, "5m"), 50]).until_weight(20)

    assert story.replicas == {"v1": 4, "v2": 1}
    proving = [plan.status for plan in story.world.plans if plan.status.phase == "Proving"]
    waited = [status.rollout.hold_message for status in proving if status.rollout]
    assert ("4 servers are ready, 1 make 20 %" in waited) != exact


def test_without_accelerators_nobody_is_asked(crowded: Crowded) -> None:
    story = crowded(gpus=0, runtime={}).apply("v2").settle()

    assert chosen(story) == "Surge"
    assert story.told("SurgeChosen") == 0


def test_without_a_scheduler_nobody_is_asked(scenario: Callable[..., Story]) -> None:
    assert chosen(scenario(runtime=GPU, steps=[50]).serving("v1").apply("v2").settle()) == "Surge"


def test_a_first_version_takes_nobodys_place(crowded: Crowded) -> None:
    story = crowded(gpus=2)

    assert {plan.status.rollout.surge for plan in story.world.plans if plan.status.rollout} == {"Surge"}


# -- there is none


def test_auto_replaces_where_there_is_no_room_once_the_bundle_is_proved(crowded: Crowded) -> None:
    story = crowded(gpus=2).apply("v2").settle()
    assert (chosen(story), story.hold) == ("Auto", "GPUUnavailable")
    assert story.replicas["v1"] == 2

    wait(story).until(lambda story: story.stable == "v2").settle()

    assert most_proofs(story) == 1
    assert story.told("ReplaceChosen") == 1
    message = next(event.message for event in story.world.events if event.reason == "ReplaceChosen")
    assert message == "2 wait, 2 in all"
    first = next(plan for plan in story.world.plans if plan.resolve and plan.resolve.prove)
    assert {w.record.resolution.version: w.replicas for w in first.revisions} == {"v1": 2, "v2": 2}
    assert story.runs("1m").replicas == {"v2": 2}


def test_a_gpu_that_is_free_in_a_moment_is_waited_for(crowded: Crowded) -> None:
    story = crowded(gpus=2).apply("v2").runs("10s")
    assert chosen(story) == "Auto"

    story.world.gpus = 4
    story.world.refresh_servers()

    assert chosen(story.settle()) == "Surge"


def test_room_that_comes_while_the_bundle_is_proved_is_taken(crowded: Crowded) -> None:
    story = crowded(gpus=2).apply("v2").settle()
    story.world.now = story.world.now.replace(minute=story.world.now.minute + 1)
    story.turn()
    assert (chosen(story), story.hold) == ("Prove", "BundleBeingProved")

    story.world.gpus, story.world.resolved = 4, None
    story.world.refresh_servers()

    assert chosen(story.settle()) == "Surge"


def test_a_bundle_that_fails_its_proof_stops_nobody(crowded: Crowded) -> None:
    story = crowded(gpus=2)
    story.world.proofs["file:///bundles/v2"] = WRONG

    wait(story.apply("v2").settle())

    assert story.rejected == [("Content", "GoldenMismatch")]
    assert all(plan.weights.get(story.revision("v1")) == 100 for plan in story.world.plans[3:])
    assert story.settle().replicas == {"v1": 2}


def test_a_proof_that_could_not_be_made_is_tried_again(crowded: Crowded) -> None:
    story = crowded(gpus=2)
    story.world.proofs["file:///bundles/v2"] = Failure(FailureClass.ENVIRONMENT, "Denied", "no access")
    wait(story.apply("v2").settle())
    assert story.rejected == [("Environment", "Denied")]

    story.world.proofs = {}

    assert story.until(lambda story: story.stable == "v2").told("ReplaceChosen") == 1


def test_while_paused_nothing_is_chosen(crowded: Crowded) -> None:
    story = crowded(gpus=2).apply("v2", paused=True).runs("5m")

    assert (chosen(story), story.hold, story.replicas["v1"]) == ("Auto", "Paused", 2)


def test_the_candidate_steps_in_for_a_lost_stable_version_before_anything_is_chosen(crowded: Crowded) -> None:
    story = crowded(gpus=3).apply("v2").settle()
    assert (chosen(story), story.replicas) == ("Auto", {"v1": 2, "v2": 2})
    story.edit(paused=True).servers_of("v1", ready=0).runs("1m").edit(paused=False)

    story.until(lambda story: story.told("StableLost") == 1)

    assert story.weights == {"v2": 100}
    assert chosen(story) in ("Surge", "")


def test_a_lost_stable_version_ends_a_choice_that_was_made(crowded: Crowded) -> None:
    story = crowded(gpus=4).apply("v2").settle().servers_of("v1", ready=0)

    story.until(lambda story: story.told("StableLost") == 1)

    assert story.weights == {"v2": 100}


def test_one_server_changes_at_a_time_however_far_the_next_weight_is(crowded: Crowded) -> None:
    story = crowded(gpus=4, servers=4, surge="Replace").apply("v2", steps=[])

    story.until(lambda story: story.stable == "v2")

    running = [sum(w.replicas for w in plan.revisions if w.record.resolution.version == "v1") for plan in
               story.world.plans if plan.status.stable and plan.status.stable.version == "v1"]  # fmt: skip
    assert max(before - after for before, after in pairwise(running)) == 1
    assert min(running[2:]) == 1


# -- one server


def test_a_single_server_is_not_stopped_without_leave(crowded: Crowded) -> None:
    story = crowded(gpus=1, servers=1).apply("v2").runs("5m")

    assert story.truth("Reconciling") == ("True", "GPUUnavailable")
    assert story.condition("Reconciling").message == (  # type: ignore[union-attr]
        "1 wait, 1 in all: the only server must stop before the next can start: write rollout.allowDowntime: true"
    )
    assert story.replicas["v1"] == 1
    assert story.truth("Ready") == ("True", "Serving")


def test_the_wait_ends_by_itself_when_room_comes(crowded: Crowded) -> None:
    story = crowded(gpus=1, servers=1).apply("v2").runs("5m")

    story.world.gpus = 2
    story.world.refresh_servers()

    assert story.until(lambda story: story.stable == "v2").told("SurgeChosen") == 1


def test_the_wait_has_a_deadline_and_is_tried_again(crowded: Crowded) -> None:
    story = crowded(gpus=1, servers=1).apply("v2").runs("14m")
    story.until(lambda story: story.truth("Stalled") == ("True", "GPUUnavailable"), within="2m").settle()
    assert story.replicas == {"v1": 1}

    story.world.gpus = 2

    assert story.until(lambda story: story.stable == "v2").truth("Promoted")[0] == "True"


@pytest.mark.parametrize("room", [{"allowDowntime": True}, {"surge": "Replace", "allowDowntime": True}])
def test_leave_that_is_given_meanwhile_is_used(crowded: Crowded, room: dict[str, Any]) -> None:
    story = crowded(gpus=1, servers=1).apply("v2").runs("5m")

    story.edit(rollout=room)

    assert story.until(lambda story: story.stable == "v2").told("ReplaceChosen") == 1


def test_who_asks_for_a_surge_meanwhile_waits_for_room(crowded: Crowded) -> None:
    story = crowded(gpus=1, servers=1).apply("v2").runs("5m").edit(rollout={"surge": "Surge"}).settle()

    assert (chosen(story), story.hold, story.replicas["v1"]) == ("Surge", "GPUUnavailable", 1)


# -- stopping servers would not help


@pytest.mark.parametrize(
    "runtime",
    [
        SLICE,
        {"device": "cuda", "accelerator": {"count": 2}},
        {**GPU, "pod": {"nodeSelector": {"gpu": "other"}}},
    ],
)
def test_no_server_stops_where_that_frees_nothing_of_use(crowded: Crowded, runtime: dict[str, Any]) -> None:
    story = crowded(gpus=2, allowDowntime=True).apply("v2", runtime=runtime).runs("5m")

    assert (chosen(story), story.hold, story.replicas["v1"]) == ("Auto", "GPUUnavailable", 2)
    assert story.condition("Reconciling").message == "2 wait, 2 in all: add some"  # type: ignore[union-attr]


def test_no_server_stops_whose_gpu_would_be_lost_with_it(crowded: Crowded) -> None:
    story = crowded(gpus=2)
    story.world.stranded = "its node is cordoned"

    story.apply("v2").runs("5m")

    assert (chosen(story), story.hold, story.replicas["v1"]) == ("Auto", "GPUUnavailable", 2)
    assert story.condition("Reconciling").message == "2 wait, 2 in all: its node is cordoned"  # type: ignore[union-attr]
    story.world.stranded = ""
    story.world.refresh_servers()
    assert story.until(lambda story: story.stable == "v2").told("ReplaceChosen") == 1


def test_a_gpu_that_is_lost_in_the_middle_of_a_replacement_stops_the_next_step(crowded: Crowded) -> None:
    story = crowded(gpus=4, servers=4, surge="Replace").apply("v2", steps=[(25, "5m"), 50]).until_weight(25)
    assert story.replicas == {"v1": 3, "v2": 1}

    story.world.stranded = "its node has 0 nvidia.com/gpu now"
    story.world.refresh_servers()
    story.runs("10m")

    assert story.replicas == {"v1": 3, "v2": 2}
    assert story.hold == "GPUUnavailable"
    assert "its node has 0" in story.condition("Reconciling").message  # type: ignore[union-attr]
    story.runs("16m")
    assert (story.weights, story.rejected) == ({"v1": 100}, [("Environment", "GPUUnavailable")])


def test_a_replacement_that_was_asked_for_stops_nobody_on_a_cordoned_node(crowded: Crowded) -> None:
    story = crowded(gpus=1, servers=1, surge="Replace", allowDowntime=True)
    story.world.stranded = "its node is cordoned"

    story.apply("v2").runs("5m")

    assert (story.replicas["v1"], story.hold) == (1, "GPUUnavailable")


# -- the GPU was taken meanwhile


def test_a_version_that_comes_back_waits_for_its_gpu_and_nobody_else_of_us_takes_it(crowded: Crowded) -> None:
    story = crowded(gpus=1, servers=1, allowDowntime=True)
    story.world.gpus = 0  # v1 holds the only one, and when it lets go of it somebody else is faster
    story.apply("v2").until(lambda story: chosen(story) == "Replace").runs("20m")
    assert story.truth("Ready") == ("False", "GPUUnavailable")
    assert story.weights == {"v1": 100}
    assert story.replicas == {"v1": 1}, "the candidate is not tried again before the stable version is back"
    assert "the stable version itself has 0 of 1 servers" in story.rejection().message

    story.world.gpus = 1
    story.world.refresh_servers()
    story.settle(1)

    assert story.truth("Ready") == ("True", "Serving")


def test_a_candidate_that_needs_less_may_start_while_the_stable_version_waits(crowded: Crowded) -> None:
    story = crowded(gpus=1, servers=1)
    story.world.gpus, story.world.held = 0, {}
    story.world.refresh_servers()

    story.apply("v2", runtime={}).settle()

    assert story.until(lambda story: story.stable == "v2").truth("Ready")[0] == "True"


def test_what_may_be_encrypted_is_read_before_it_is_proved_so_that_its_size_is_known(crowded: Crowded) -> None:
    story = crowded(gpus=2, surge="Replace").knows("v2", plain_bytes=3 * 2**30)

    story.apply("v2", bundle=sealed("v2"))
    story.until(lambda story: story.stable == "v2")

    assert asked_of(story, "v2") == [(False, 0), (True, 3 * 2**30)]


def sealed(version: str) -> dict[str, Any]:
    decryption = {"keySecretRef": {"name": "model-key", "key": "fraud.key"}}
    return {"uri": f"file:///bundles/{version}", "decryption": decryption}


def asked_of(story: Story, version: str) -> list[tuple[bool, int]]:
    """What was asked about a version, each question once: whether for a proof, and with how much memory for it."""
    asked = [plan.resolve for plan in story.world.plans if plan.resolve]
    found = [(one.prove, one.plain_bytes) for one in asked if one.source.uri.endswith(version)]
    return list(dict.fromkeys(found))


def test_an_edit_while_a_proof_runs_starts_with_a_reading_of_the_bundle_that_it_names(crowded: Crowded) -> None:
    story = crowded(gpus=2, surge="Replace").knows("v2", plain_bytes=3 * 2**30).knows("v3", plain_bytes=5 * 2**30)
    story.apply("v2", bundle=sealed("v2"))
    story.until(lambda story: asked_of(story, "v2")[-1:] == [(True, 3 * 2**30)])
    story.world.resolved = None  # it takes its time

    story.edit(bundle=sealed("v3")).turn()
    assert story.told("RolloutEnded") == 1
    assert story.replicas["v1"] == 2, "nothing was stopped for v2"
    story.until(lambda story: story.stable == "v3")

    assert asked_of(story, "v3") == [(False, 0), (True, 5 * 2**30)]
    assert story.rejected == []


def test_an_edit_of_a_paused_rollout_whose_proof_runs_is_read_as_well(crowded: Crowded) -> None:
    story = crowded(gpus=2, surge="Replace").knows("v2", plain_bytes=3 * 2**30).knows("v3", plain_bytes=5 * 2**30)
    story.apply("v2", bundle=sealed("v2"))
    story.until(lambda story: asked_of(story, "v2")[-1:] == [(True, 3 * 2**30)])
    story.world.resolved = None

    story.edit(bundle=sealed("v3"), paused=True).settle()
    assert (asked_of(story, "v3"), story.candidate) == ([(False, 0)], "v2")

    story.edit(paused=False).until(lambda story: story.stable == "v3")
    assert asked_of(story, "v3") == [(False, 0), (True, 5 * 2**30)]


@pytest.fixture
def waited(crowded: Crowded) -> Story:
    """v2 waited in vain for room beside v1, with nothing of it proved; then the spec asks for replacement."""
    story = crowded(gpus=2, surge="Surge").apply("v2").runs("16m")
    assert (story.rejected, most_proofs(story)) == ([("Environment", "GPUUnavailable")], 0)
    return story.edit(rollout={"surge": "Replace"})


def test_what_was_only_read_is_proved_when_the_spec_asks_for_replacement_later(waited: Story) -> None:
    story = waited.command("retry").until(lambda story: story.stable == "v2")

    assert most_proofs(story) == 1
    proving = next(plan for plan in story.world.plans if plan.resolve and plan.resolve.prove)
    assert {w.record.resolution.version: w.replicas for w in proving.revisions} == {"v1": 2, "v2": 0}
    assert proving.status.rollout is not None
    assert proving.status.rollout.hold_message == (
        "rollout.surge is Replace: the bundle is proved before a server stops for it"
    )
    assert story.told("ReplaceChosen") == 1


def test_what_was_only_read_and_fails_its_proof_stops_nobody(waited: Story) -> None:
    story = waited
    story.world.proofs["file:///bundles/v2"] = WRONG

    story.command("retry").settle().runs("1m")

    assert story.rejected == [("Content", "GoldenMismatch")]
    assert (story.stable, story.replicas) == ("v1", {"v1": 2})


def test_what_was_proved_when_it_was_read_is_not_proved_again(crowded: Crowded) -> None:
    story = crowded(gpus=2, surge="Replace").apply("v2", steps=[(50, "5m")]).until_weight(50)
    story.command("abort").settle()
    proofs = most_proofs(story)

    story.command("retry").until(lambda story: story.stable == "v2")

    assert most_proofs(story) == proofs


@pytest.mark.parametrize("verb", ["restart", "rollback-to"])
def test_what_has_served_before_needs_no_proof(crowded: Crowded, verb: str) -> None:
    story = crowded(gpus=2)
    if verb == "rollback-to":
        story.apply("v2").until(lambda story: story.stable == "v2").runs("10m")
    asked = most_proofs(story)

    wait(story.command(verb, "v1")).until(lambda story: story.stable == "v1" and story.phase == "Serving")

    assert most_proofs(story) == asked
    assert story.told("ReplaceChosen") == (2 if asked else 1)
