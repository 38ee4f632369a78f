"""From live objects to what a plan may know."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tidegate.api.status import ResolutionStatus
from tidegate.cluster.observe import Look, Means, observed, route, taken
from tidegate.plan.manifests.children import Seen
from tidegate.plan.manifests.front import front_service
from tidegate.plan.manifests.identity import BUDGET, DEPLOYMENT, JOB, SERVICE, Owner
from tidegate.plan.observed import Failure, FailureClass

from .pods import FOUND, Object, ended, finished, pod, ready_pod

OWNER = Owner("payments", "fraud", "uid-1")
NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)
MEANS = Means("r:1")
OLD, NEW = "aaaaaaaaaa", "bbbbbbbbbb"
BLOCKED = Failure(FailureClass.ENVIRONMENT, "NameTaken", "it is somebody else's")


def look(**parts: Any) -> Look:
    deployment = {
        "metadata": {
            "name": "fraud",
            "namespace": "payments",
            "uid": "uid-1",
            "generation": 3,
            **parts.pop("meta", {}),
        },
        "spec": {"bundle": {"uri": "s3://models/fraud/1"}},
    }
    given = {"seen": Seen(), "pods": (), "obstacles": {}, **parts}
    return Look(OWNER, deployment, now=NOW, **given)


MADE = Seen(deployments={OLD: {"metadata": {"name": f"fraud-{OLD}"}}, NEW: {"metadata": {"name": f"fraud-{NEW}"}}})


def of(pod: Object, revision: str, name: str, **meta: Any) -> Object:
    pod["metadata"] |= {"name": name, "uid": name, **meta}
    pod["metadata"]["labels"]["serving.tidegate.io/revision"] = revision
    return pod


def test_servers_are_counted_by_their_own_readiness() -> None:
    pods = [of(ready_pod(), OLD, "a"), of(pod(), OLD, "b"), of(ready_pod(), NEW, "c")]

    found = observed(look(pods=pods, seen=MADE), (), None, MEANS).revisions

    assert (found[OLD].replicas, found[OLD].ready) == (2, 1)
    assert (found[NEW].replicas, found[NEW].ready) == (1, 1)


def test_a_pod_that_is_being_removed_serves_nobody_any_more() -> None:
    pods = [of(ready_pod(), OLD, "a", deletionTimestamp="2026-01-01T00:59:00Z"), of(ready_pod(), OLD, "b")]

    assert observed(look(pods=pods, seen=MADE), (), None, MEANS).revisions[OLD].ready == 1


def test_servers_without_a_deployment_of_ours_are_a_predecessors_and_not_counted() -> None:
    left = look(pods=[of(ready_pod(), OLD, "a")], obstacles={(DEPLOYMENT, f"fraud-{OLD}"): BLOCKED})

    found = observed(left, (), None, MEANS).revisions[OLD]

    assert (found.replicas, found.ready, found.failure) == (0, 0, BLOCKED)


def test_why_servers_are_missing_is_told_by_those_that_are_not_ready() -> None:
    crash = of(pod(containers=[ended(137, reason="OOMKilled")]), OLD, "a")

    found = observed(look(pods=[crash, of(ready_pod(), OLD, "b")], seen=MADE), (), None, MEANS).revisions[OLD]

    assert found.failure is not None
    assert found.failure.reason == "OutOfMemory"


def test_an_object_that_the_api_server_does_not_take_is_why_there_are_no_servers() -> None:
    blocked = look(pods=[of(pod(), OLD, "a")], obstacles={(DEPLOYMENT, f"fraud-{OLD}"): BLOCKED})

    assert observed(blocked, (), None, MEANS).revisions[OLD].failure == BLOCKED


def test_pods_that_cannot_be_made_are_told_by_their_deployment() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}
    controller = {"metadata": {"name": f"fraud-{OLD}"}, "status": {"conditions": [condition]}}

    found = observed(look(seen=Seen(deployments={OLD: controller})), (), None, MEANS).revisions[OLD]

    assert found.failure is not None
    assert (found.replicas, found.failure.reason) == (0, "QuotaExceeded")


def test_one_revision_in_the_selector_has_all_the_weight_whatever_is_written_beside_it() -> None:
    front = front_service(OWNER, {OLD: 100}, OLD)
    front["metadata"]["annotations"]["serving.tidegate.io/routed"] = NEW

    seen = route(look(seen=Seen(front=front)))

    assert (seen.routed, seen.accepted) == (frozenset({OLD}), True)
    assert seen.url == "http://fraud.payments.svc:8080/v2/models/fraud"


def test_two_revisions_in_the_selector_share_whatever_the_weights_are() -> None:
    front = front_service(OWNER, {OLD: 75, NEW: 25}, OLD)

    assert route(look(seen=Seen(front=front))).routed == frozenset({OLD, NEW})


@pytest.mark.parametrize("written", ["", ","])
def test_a_front_whose_note_is_garbled_gives_nobody_anything(written: str) -> None:
    front = front_service(OWNER, {OLD: 75, NEW: 25}, OLD)
    front["metadata"]["annotations"]["serving.tidegate.io/routed"] = written

    assert route(look(seen=Seen(front=front))).routed == frozenset()


def test_a_taken_name_is_a_route_that_is_not_accepted() -> None:
    seen = route(look(obstacles={(SERVICE, "fraud"): BLOCKED}))

    assert (seen.routed, seen.accepted) == (frozenset(), False)
    assert (seen.reason, seen.message) == (BLOCKED.reason, BLOCKED.message)


def test_what_is_refused_beside_servers_and_route_is_told_by_its_name() -> None:
    told_elsewhere = {(DEPLOYMENT, f"fraud-{OLD}"): BLOCKED, (SERVICE, "fraud"): BLOCKED, (JOB, "fraud-1"): BLOCKED}
    assert observed(look(obstacles=told_elsewhere), (), None, MEANS).obstacle is None

    found = observed(look(obstacles={**told_elsewhere, (BUDGET, f"fraud-{OLD}"): BLOCKED}), (), None, MEANS).obstacle

    assert found is not None
    assert (found.reason, found.message) == (
        BLOCKED.reason,
        f"PodDisruptionBudget fraud-{OLD}: {BLOCKED.message}",
    )


def test_a_job_that_is_not_taken_answers_with_the_reason() -> None:
    asked = ResolutionStatus(key="0123456789", attempt=1)
    refused = look(obstacles={(JOB, "fraud-0123456789-1"): BLOCKED})

    found = observed(refused, (), asked, MEANS).resolved

    assert found is not None
    assert (found.key, found.attempt, found.failure) == ("0123456789", 1, BLOCKED)


def test_a_foreign_object_is_told_from_one_of_an_earlier_deployment() -> None:
    stranger = {"kind": "Service", "metadata": {"name": "fraud"}}
    earlier = {"kind": "ModelDeployment", "name": "fraud", "uid": "uid-0"}
    leaving = {"kind": "Service", "metadata": {"name": "fraud", "ownerReferences": [earlier]}}

    assert taken(OWNER, stranger).reason == "NameTaken"
    assert taken(OWNER, leaving).reason == "Terminating"


ASKED = ResolutionStatus(key="0123456789", attempt=2)


def job(attempt: int, image: str = "r:1", act: str = "resolve") -> Object:
    spec = {"template": {"spec": {"containers": [{"name": "resolve", "image": image, "args": [act]}]}}}
    meta = {"name": f"fraud-0123456789-{attempt}", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": meta, "spec": spec}


def answered(attempt: int, code: int = 0) -> Object:
    words = {"reason": "Denied", "message": "no"} if code else FOUND
    found = pod(containers=[finished(code, words)])
    found["metadata"]["labels"] = {"batch.kubernetes.io/job-name": f"fraud-0123456789-{attempt}"}
    return found


def test_an_attempt_that_was_given_up_and_succeeds_after_all_is_the_answer() -> None:
    seen = Seen(jobs={"fraud-0123456789-1": job(1)})

    found = observed(look(seen=seen, pods=[answered(1)]), (), ASKED, MEANS).resolved

    assert found is not None
    assert (found.attempt, found.failure) == (2, None)
    assert found.resolution is not None


@pytest.mark.parametrize(
    ("before", "pods"),
    [
        (job(1, image="r:0"), [answered(1)]),  # of an image that is not wanted any more
        (job(1), [answered(1, code=1)]),
        (job(1), []),
        (job(0), [answered(0)]),  # there was another spec in between
    ],
)
def test_what_else_an_earlier_attempt_says_does_not_count(before: Object, pods: list[Object]) -> None:
    seen = Seen(jobs={before["metadata"]["name"]: before})

    assert observed(look(seen=seen, pods=pods), (), ASKED, MEANS).resolved is None


def test_reading_is_no_answer_where_a_proof_is_asked_for() -> None:
    proof = {"spec": {"bundle": {"uri": "s3://models/fraud/1"}, "rollout": {"surge": "Replace"}}}

    def found(act: str) -> bool:
        seen = look(seen=Seen(jobs={"fraud-0123456789-1": job(1, act=act)}), pods=[answered(1)])
        seen = replace(seen, deployment={**seen.deployment, **proof})
        return observed(seen, (), ASKED, MEANS).resolved is not None

    assert (found("resolve"), found("prove")) == (False, True)


def test_an_edit_of_the_runtime_or_another_image_may_be_what_was_missing() -> None:
    before = look()
    after = replace(
        before, deployment={**before.deployment, "spec": {**before.deployment["spec"], "runtime": {"a": 1}}}
    )

    assert len({observed(seen, (), None, MEANS).environment for seen in (before, after)}) == 2
    assert observed(before, (), None, MEANS).environment != observed(before, (), None, Means("r:2")).environment


def test_obstacles_come_and_go_with_what_is_wanted_and_are_no_environment() -> None:
    blocked = look(obstacles={(JOB, "fraud-0123456789-1"): BLOCKED})

    assert observed(blocked, (), None, MEANS).environment == observed(look(), (), None, MEANS).environment


def test_what_the_spec_must_not_ask_for_is_told_and_changes_the_environment() -> None:
    open_door = Means("r:1", "runtime.auth is not enforced")

    assert observed(look(), (), None, open_door).unsupported == "runtime.auth is not enforced"
    assert observed(look(), (), None, open_door).environment != observed(look(), (), None, MEANS).environment
