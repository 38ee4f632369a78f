"""From live objects to what a plan may know."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tidegate.api.runtime import Accelerator, Runtime
from tidegate.api.status import ResolutionStatus
from tidegate.bundle.manifest import Interface
from tidegate.cluster.nodes import Sight
from tidegate.cluster.observe import Look, observed, route, taken
from tidegate.plan.accelerators import Node
from tidegate.plan.manifests.children import Seen
from tidegate.plan.manifests.front import front_service
from tidegate.plan.manifests.identity import BUDGET, DEPLOYMENT, JOB, SERVICE, Owner
from tidegate.plan.manifests.stored import Stored
from tidegate.plan.observed import Failure, FailureClass, Resolution, RevisionObserved, RevisionRecord

from .pods import FOUND, Object, ended, finished, pod, ready_pod

OWNER = Owner("payments", "fraud", "uid-1")
NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)
IMAGE = "r:1"
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

    found = observed(look(pods=pods, seen=MADE), (), None, IMAGE).revisions

    assert (found[OLD].replicas, found[OLD].ready) == (2, 1)
    assert (found[NEW].replicas, found[NEW].ready) == (1, 1)


def test_a_pod_that_is_being_removed_serves_nobody_any_more() -> None:
    pods = [of(ready_pod(), OLD, "a", deletionTimestamp="2026-01-01T00:59:00Z"), of(ready_pod(), OLD, "b")]

    assert observed(look(pods=pods, seen=MADE), (), None, IMAGE).revisions[OLD].ready == 1


def test_servers_without_a_deployment_of_ours_are_a_predecessors_and_not_counted() -> None:
    left = look(pods=[of(ready_pod(), OLD, "a")], obstacles={(DEPLOYMENT, f"fraud-{OLD}"): BLOCKED})

    found = observed(left, (), None, IMAGE).revisions[OLD]

    assert (found.replicas, found.ready, found.failure) == (0, 0, BLOCKED)


def test_why_servers_are_missing_is_told_by_those_that_are_not_ready() -> None:
    crash = of(pod(containers=[ended(137, reason="OOMKilled")]), OLD, "a")

    found = observed(look(pods=[crash, of(ready_pod(), OLD, "b")], seen=MADE), (), None, IMAGE).revisions[OLD]

    assert found.failure is not None
    assert found.failure.reason == "OutOfMemory"


def test_an_object_that_the_api_server_does_not_take_is_why_there_are_no_servers() -> None:
    blocked = look(pods=[of(pod(), OLD, "a")], obstacles={(DEPLOYMENT, f"fraud-{OLD}"): BLOCKED})

    assert observed(blocked, (), None, IMAGE).revisions[OLD].failure == BLOCKED


def test_pods_that_cannot_be_made_are_told_by_their_deployment() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}
    controller = {"metadata": {"name": f"fraud-{OLD}"}, "status": {"conditions": [condition]}}

    found = observed(look(seen=Seen(deployments={OLD: controller})), (), None, IMAGE).revisions[OLD]

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
    assert observed(look(obstacles=told_elsewhere), (), None, IMAGE).obstacle is None

    found = observed(look(obstacles={**told_elsewhere, (BUDGET, f"fraud-{OLD}"): BLOCKED}), (), None, IMAGE).obstacle

    assert found is not None
    assert (found.reason, found.message) == (
        BLOCKED.reason,
        f"PodDisruptionBudget fraud-{OLD}: {BLOCKED.message}",
    )


def test_a_job_that_is_not_taken_answers_with_the_reason() -> None:
    asked = ResolutionStatus(key="0123456789", attempt=1)
    refused = look(obstacles={(JOB, "fraud-0123456789-1"): BLOCKED})

    found = observed(refused, (), asked, IMAGE).resolved

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

    found = observed(look(seen=seen, pods=[answered(1)]), (), ASKED, IMAGE).resolved

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

    assert observed(look(seen=seen, pods=pods), (), ASKED, IMAGE).resolved is None


def test_reading_is_no_answer_where_a_proof_is_asked_for() -> None:
    proof = {"spec": {"bundle": {"uri": "s3://models/fraud/1"}, "rollout": {"surge": "Replace"}}}

    def found(act: str) -> bool:
        seen = look(seen=Seen(jobs={"fraud-0123456789-1": job(1, act=act)}), pods=[answered(1)])
        seen = replace(seen, deployment={**seen.deployment, **proof})
        return observed(seen, (), ASKED, IMAGE).resolved is not None

    assert (found("resolve"), found("prove")) == (False, True)


def test_what_may_be_encrypted_is_read_before_it_is_proved_so_a_late_reading_is_the_answer() -> None:
    key = {"keySecretRef": {"name": "model-key", "key": "fraud.key"}}
    spec = {"bundle": {"uri": "s3://models/fraud/1", "decryption": key}, "rollout": {"surge": "Replace"}}
    seen = look(seen=Seen(jobs={"fraud-0123456789-1": job(1)}), pods=[answered(1)])
    read = replace(seen, deployment={**seen.deployment, "spec": spec})
    waits = replace(read, deployment={**read.deployment, "status": {"rollout": {"surge": "Prove"}}})

    assert observed(read, (), ASKED, IMAGE).resolved is not None
    assert observed(waits, (), ASKED, IMAGE).resolved is None


def test_a_proof_that_a_rollout_waits_for_is_no_reading_either() -> None:
    read = look(seen=Seen(jobs={"fraud-0123456789-1": job(1)}), pods=[answered(1)])
    waits = {**read.deployment, "status": {"rollout": {"surge": "Prove"}}}

    assert observed(read, (), ASKED, IMAGE).resolved is not None
    assert observed(replace(read, deployment=waits), (), ASKED, IMAGE).resolved is None


# -- accelerators

NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: no victims found."
UNPLACED = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_GPU}]


def on_gpus(*pods: Object, **parts: Any) -> RevisionObserved:
    """What is seen of a revision whose servers want a GPU each."""
    found = Resolution("s3://models/fraud/1", "sha256:1", "1", Interface((), ()), has_golden=True)
    runtime = Runtime(device="cuda", accelerator=Accelerator())
    stored = Stored(RevisionRecord(OLD, 1, found, runtime, base=OLD), {})
    seen = Seen(deployments=parts.pop("deployments", MADE.deployments), stored={OLD: stored})
    return observed(look(pods=pods, seen=seen, **parts), (), None, IMAGE).revisions[OLD]


def placed(name: str, node: str, **meta: Any) -> Object:
    return {**of(ready_pod(), OLD, name, **meta), "spec": {"nodeName": node}}


def test_servers_that_wait_for_a_gpu_say_how_many_there_are() -> None:
    nodes = [Node("a", {"nvidia.com/gpu": 1}, "", {"nvidia.com/gpu": 1})]
    pods = placed("a", "a"), of(pod(conditions=UNPLACED), OLD, "b"), of(pod(conditions=UNPLACED), OLD, "c")

    found = on_gpus(*pods, sight=Sight(nodes))

    assert (found.replicas, found.placed, found.ready, found.bound) == (3, 1, 1, "")
    assert found.short == "2 servers wait for 1 nvidia.com/gpu each, 0 of 1 free on 1 node"
    assert found.failure is not None
    assert (found.failure.reason, found.failure.message) == (
        "GPUUnavailable",
        f"{found.short} (0/3 nodes are available: 3 Insufficient nvidia.com/gpu): "
        "free or add some, or look at nodeSelector and tolerations",
    )


def test_where_nodes_are_not_read_the_schedulers_sentence_has_to_do() -> None:
    found = on_gpus(of(pod(conditions=UNPLACED), OLD, "b"))

    assert found.short == "1 server waits for 1 nvidia.com/gpu"
    assert found.failure is not None
    assert "(0/3 nodes are available" in found.failure.message


def test_a_quota_that_is_used_up_stays_the_reason_and_is_a_shortage() -> None:
    used = 'pods "a" is forbidden: exceeded quota: small, requested: requests.nvidia.com/gpu=1, used: a, limited: b'
    condition = {"type": "ReplicaFailure", "status": "True", "message": used}
    made = {OLD: {"metadata": {"name": f"fraud-{OLD}"}, "status": {"conditions": [condition]}}}

    found = on_gpus(deployments=made)

    assert found.failure is not None
    assert (found.failure.reason, found.short) == ("QuotaExceeded", "1 server waits for 1 nvidia.com/gpu")


def test_servers_on_a_node_that_takes_no_pod_hold_their_gpus_for_nobody_else() -> None:
    found = on_gpus(placed("a", "a"), sight=Sight([Node("a", {"nvidia.com/gpu": 1}, "cordoned")]))

    assert (found.short, found.bound) == ("", "no server is stopped, none could start again on a, which is cordoned")


def test_while_nodes_cannot_be_read_no_server_is_stopped() -> None:
    found = on_gpus(placed("a", "a"), sight=Sight(trouble=True))

    assert found.bound == "no server is stopped, the nodes cannot be read now"


def test_a_server_that_goes_on_with_an_unhealthy_gpu_is_told_until_its_pod_is_removed() -> None:
    held = [{"name": "nvidia.com/gpu", "resources": [{"resourceID": "gpu-0", "health": "Unhealthy"}]}]
    bad = pod(containers=[{"name": "serve", "allocatedResourcesStatus": held}], phase="Running")
    parts: dict[str, Any] = {"asked": None, "samples": (), "image": IMAGE}

    stays = observed(look(pods=[of(bad, OLD, "a")]), **parts).obstacle
    leaves = observed(look(pods=[of(bad, OLD, "a", deletionTimestamp="2026-01-01T00:00:00Z")]), **parts).obstacle

    assert stays
    assert stays.message.startswith("a device is unhealthy, of a (nvidia.com/gpu gpu-0)")
    assert leaves is None


def test_an_edit_of_the_runtime_or_another_image_may_be_what_was_missing() -> None:
    before = look()
    after = replace(
        before, deployment={**before.deployment, "spec": {**before.deployment["spec"], "runtime": {"a": 1}}}
    )

    assert len({observed(seen, (), None, IMAGE).environment for seen in (before, after)}) == 2
    assert observed(before, (), None, IMAGE).environment != observed(before, (), None, "r:2").environment


def test_obstacles_come_and_go_with_what_is_wanted_and_are_no_environment() -> None:
    blocked = look(obstacles={(JOB, "fraud-0123456789-1"): BLOCKED})

    assert observed(blocked, (), None, IMAGE).environment == observed(look(), (), None, IMAGE).environment


def condition(kind: str, status: str, **about: str) -> Object:
    return {"status": {"conditions": [{"type": kind, "status": status, **about}]}}


BLIND = condition(
    "ScalingActive", "False", reason="FailedGetExternalMetric", lastTransitionTime="2026-01-01T00:59:00Z", message="no",
)  # fmt: skip


@pytest.mark.parametrize(
    "seen",
    [Seen(autoscalers={OLD: BLIND}), Seen(scaled_objects={OLD: condition("Ready", "False", message="no Prometheus")})],
)
def test_an_autoscaler_that_does_not_know_the_load_is_told(seen: Seen) -> None:
    obstacle = observed(look(seen=seen), (), None, IMAGE).obstacle

    assert obstacle is not None
    assert obstacle.reason == "LoadUnknown"


def test_an_autoscaler_that_knows_the_load_is_no_obstacle() -> None:
    active = condition("ScalingActive", "True", reason="ValidMetricFound", lastTransitionTime="2026-01-01T00:00:00Z")
    seen = Seen(autoscalers={OLD: active}, scaled_objects={OLD: condition("Ready", "True")})

    assert observed(look(seen=seen), (), None, IMAGE).obstacle is None
