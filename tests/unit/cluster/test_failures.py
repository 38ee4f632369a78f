"""Why pods do not come up: each way that Kubernetes has of saying it becomes one reason with a sentence."""

from __future__ import annotations

import re

import pytest

from tidegate.cluster.failures import (
    MESSAGE_LIMIT,
    environment,
    failure_of_controller,
    failure_of_pod,
    failure_of_pods,
    no_node,
    refusal,
)
from tidegate.plan.observed import FailureClass

from .pods import Object, ended, pod, ready_pod, waiting

CONTENT, ENVIRONMENT = FailureClass.CONTENT, FailureClass.ENVIRONMENT
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available: 3 no.",
}
NO_CLAIM = {**UNSCHEDULABLE, "message": '0/3 nodes are available: persistentvolumeclaim "models" not found. not found'}
MISMATCH = {"reason": "GoldenMismatch", "message": "golden/0.npz: output scores differs"}
DENIED = {"reason": "Denied", "message": "s3://models: these keys may not do this"}
WRONG_KEY = {"reason": "DecryptionKeyWrong", "message": "age.key: none of these age keys: name the key of a recipient"}
SILENT = {"reason": "Unreachable", "message": "s3://models: no answer in time"}


@pytest.mark.parametrize(
    ("seen", "class_", "reason", "says"),
    [
        (pod(conditions=[UNSCHEDULABLE]), ENVIRONMENT, "Unschedulable", "Insufficient nvidia.com/gpu"),
        (pod(conditions=[NO_CLAIM]), ENVIRONMENT, "MountMissing", 'claim "models" not found: create'),
        (pod(containers=[waiting("ImagePullBackOff", "not found")]), ENVIRONMENT, "ImagePull", "registry.example.com/r:1"),
        (pod(containers=[waiting("InvalidImageName")]), ENVIRONMENT, "ImagePull", "InvalidImageName"),
        (pod(init=[waiting("CreateContainerConfigError", 'secret "s3" not found')]), ENVIRONMENT, "SecretMissing", "s3"),
        (pod(init=[waiting("CreateContainerConfigError", "couldn't find key a in Secret n/s3")]), ENVIRONMENT, "SecretMissing", "s3"),
        (pod(containers=[waiting("CreateContainerError", "no such device")]), ENVIRONMENT, "PodConfigInvalid", "device"),
        (pod(containers=[ended(1, words=MISMATCH)]), CONTENT, "GoldenMismatch", "output scores differs"),
        (pod(init=[ended(1, words=DENIED)]), ENVIRONMENT, "Denied", "may not do this"),
        (pod(init=[ended(1, words=WRONG_KEY)]), ENVIRONMENT, "DecryptionKeyWrong", "none of these age keys"),
        (pod(init=[ended(5, words=SILENT)]), ENVIRONMENT, "Unreachable", "no answer"),
        (pod(containers=[ended(137, reason="OOMKilled")]), ENVIRONMENT, "OutOfMemory", "limits.memory"),
        (pod(containers=[ended(139)]), ENVIRONMENT, "ServerDied", "exit code 139"),
        (pod(containers=[ended(139, restarts=3)]), ENVIRONMENT, "CrashLoop", "exit code 139"),
        (pod(containers=[ended(137, reason="OOMKilled", restarts=3)]), ENVIRONMENT, "CrashLoop", "raise limits.memory"),
        (pod(containers=[ended(5, words=SILENT, restarts=3)]), ENVIRONMENT, "CrashLoop", "again and again: s3://models"),
        (pod(containers=[ended(1, words=MISMATCH, restarts=3)]), CONTENT, "GoldenMismatch", "output scores differs"),
        (pod(init=[{**ended(5, words=SILENT, restarts=3), "name": "fetch"}]), ENVIRONMENT, "Unreachable", "no answer"),
        (pod(phase="Failed", reason="Evicted", message="low on memory"), ENVIRONMENT, "Evicted", "low on memory"),
        (pod(phase="Failed", reason="UnexpectedAdmissionError", message="no healthy devices"), ENVIRONMENT, "PodConfigInvalid", "devices"),
    ],
)  # fmt: skip
def test_what_keeps_a_pod_from_being_ready_is_told(seen: Object, class_: FailureClass, reason: str, says: str) -> None:
    failure = failure_of_pod(seen)

    assert failure is not None
    assert (failure.class_, failure.reason) == (class_, reason)
    assert says in failure.message


@pytest.mark.parametrize("seen", [pod(), pod(status={}), ready_pod(), pod(containers=[waiting("ContainerCreating")])])
def test_a_pod_that_only_starts_has_not_failed(seen: Object) -> None:
    assert failure_of_pod(seen) is None


def test_a_container_that_runs_again_has_not_failed() -> None:
    running = {**ended(1), "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "ready": True}

    assert failure_of_pod(pod(containers=[running])) is None


def test_a_container_that_runs_again_but_is_not_ready_tells_how_it_ended_before() -> None:
    running = {**ended(1, words=MISMATCH), "state": {"running": {}}}

    failure = failure_of_pod(pod(containers=[running]))

    assert failure is not None
    assert failure.reason == "GoldenMismatch"


def test_wrong_bytes_in_one_pod_weigh_more_than_missing_room_for_others() -> None:
    failure = failure_of_pods([pod(conditions=[UNSCHEDULABLE]), pod(containers=[ended(1, words=MISMATCH)])])

    assert failure is not None
    assert failure.reason == "GoldenMismatch"


def test_why_a_server_dies_weighs_more_than_pods_that_a_node_refused_or_removed_before_it() -> None:
    refused, removed = pod(phase="Failed", reason="UnexpectedAdmissionError"), pod(phase="Failed", reason="Evicted")

    failure = failure_of_pods([refused, removed, pod(containers=[ended(139, restarts=3)])])

    assert failure is not None
    assert failure.reason == "CrashLoop"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('pods "x" is forbidden: exceeded quota: small, requested: cpu=1', "QuotaExceeded"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": …', "AdmissionDenied"),
        ("admission webhook policy.example.com denied the request: no", "AdmissionDenied"),
        ('error looking up service account payments/m: serviceaccount "m" not found', "AccountMissing"),
        (
            "deployments.apps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            "AdmissionDenied",
        ),
        (
            'pods is forbidden: User "system:serviceaccount:a:b" cannot create resource "pods" in API group ""',
            "Forbidden",
        ),
        ("something else", "PodsRefused"),
    ],
)
def test_what_the_api_server_refuses_is_told_by_its_cause(message: str, reason: str) -> None:
    conditions = [
        {"type": "Available", "status": "False"},
        {"type": "ReplicaFailure", "status": "True", "message": message},
    ]

    failure = failure_of_controller(conditions)

    assert failure == refusal(message)
    assert failure is not None
    assert failure.reason == reason


def test_a_deployment_whose_pods_can_be_made_has_no_failure() -> None:
    assert failure_of_controller([{"type": "ReplicaFailure", "status": "False"}]) is None
    assert failure_of_controller(None) is None


def test_the_same_refusal_of_another_object_is_the_same_sentence() -> None:
    first, second = (refusal(f'pods "fraud-{name}" is forbidden: exceeded quota: small') for name in ("a", "b"))

    assert first == second
    assert first.message.startswith("pods: exceeded quota: small: raise")


def test_a_deployment_that_cannot_even_make_a_replica_set_tells_why() -> None:
    why = "Failed to create new replica set: exceeded quota: small"
    condition = {"type": "Progressing", "status": "False", "reason": "ReplicaSetCreateError", "message": why}

    failure = failure_of_controller([condition])

    assert failure is not None
    assert failure.reason == "QuotaExceeded"
    assert failure_of_controller([{**condition, "reason": "ProgressDeadlineExceeded"}]) is None


@pytest.mark.parametrize("more", ["", ". preemption: 0/3 nodes.", ". no new claims to deallocate, preemption: 0/3."])
def test_what_the_scheduler_has_also_tried_in_vain_is_left_out(more: str) -> None:
    found = no_node(f"0/3 nodes are available: 3 Insufficient nvidia.com/gpu{more}").message

    assert found.startswith("no node takes the pod: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu: free or")


def test_of_a_long_cause_the_end_is_cut_and_what_to_do_stays() -> None:
    message = environment("PodsRefused", "x" * 5000, "do this").message

    assert len(message) == MESSAGE_LIMIT
    assert message.endswith("x…: do this")
    assert len(environment("PodsRefused", "x" * 5000).message) == MESSAGE_LIMIT


def test_of_long_last_words_place_and_advice_stay() -> None:
    words = {"reason": "Unreachable", "message": f"s3://models: {'x' * 500}: check AWS_ENDPOINT_URL"}

    failure = failure_of_pod(pod(init=[ended(5, words=words)]))

    assert failure is not None
    assert len(failure.message) == MESSAGE_LIMIT
    assert failure.message.startswith("s3://models: xxx")
    assert failure.message.endswith("xxx: check AWS_ENDPOINT_URL")


@pytest.mark.parametrize(
    "seen",
    [
        pod(conditions=[UNSCHEDULABLE]),
        pod(conditions=[NO_CLAIM]),
        pod(containers=[waiting("ImagePullBackOff", "not found")]),
        pod(containers=[waiting("CreateContainerError", "no such device")]),
        pod(init=[waiting("CreateContainerConfigError", 'secret "s3" not found')]),
        pod(containers=[ended(137, reason="OOMKilled")]),
        pod(containers=[ended(139)]),
        pod(phase="Failed", reason="Evicted", message="low on memory"),
    ],
)
def test_every_sentence_ends_with_what_to_do(seen: Object) -> None:
    failure = failure_of_pod(seen)

    assert failure is not None
    assert re.search(r": (free|create|correct|raise|read|look)\b[^:]*$", failure.message)
