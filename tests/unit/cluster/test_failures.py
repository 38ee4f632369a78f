"""Why pods do not come up: each way that Kubernetes has of saying it becomes one reason with a sentence."""

from __future__ import annotations

import pytest

from tidegate.cluster.failures import failure_of_controller, failure_of_pod, failure_of_pods, refusal
from tidegate.plan.observed import FailureClass

from .pods import Object, ended, pod, ready_pod, waiting

CONTENT, ENVIRONMENT = FailureClass.CONTENT, FailureClass.ENVIRONMENT
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}
MISMATCH = {"reason": "GoldenMismatch", "message": "golden/0.npz: output scores differs"}
DENIED = {"reason": "Denied", "message": "s3://models: these keys may not do this"}
SILENT = {"reason": "Unreachable", "message": "s3://models: no answer in time"}


@pytest.mark.parametrize(
    ("seen", "class_", "reason", "says"),
    [
        (pod(conditions=[UNSCHEDULABLE]), ENVIRONMENT, "Unschedulable", "Insufficient nvidia.com/gpu"),
        (pod(containers=[waiting("ImagePullBackOff", "not found")]), ENVIRONMENT, "ImagePull", "registry.example.com/r:1"),
        (pod(containers=[waiting("InvalidImageName")]), ENVIRONMENT, "ImagePull", "InvalidImageName"),
        (pod(init=[waiting("CreateContainerConfigError", 'secret "s3" not found')]), ENVIRONMENT, "SecretMissing", "s3"),
        (pod(containers=[waiting("CreateContainerError", "no such device")]), ENVIRONMENT, "PodConfigInvalid", "device"),
        (pod(containers=[ended(1, words=MISMATCH)]), CONTENT, "GoldenMismatch", "output scores differs"),
        (pod(init=[ended(1, words=DENIED)]), ENVIRONMENT, "Denied", "may not do this"),
        (pod(init=[ended(5, words=SILENT)]), ENVIRONMENT, "Unreachable", "no answer"),
        (pod(containers=[ended(137, reason="OOMKilled")]), ENVIRONMENT, "OutOfMemory", "limits.memory"),
        (pod(containers=[ended(139)]), ENVIRONMENT, "ServerDied", "exit code 139"),
        (pod(containers=[ended(139, restarts=3)]), ENVIRONMENT, "CrashLoop", "exit code 139"),
        (pod(phase="Failed", reason="Evicted", message="low on memory"), ENVIRONMENT, "Evicted", "low on memory"),
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


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('pods "x" is forbidden: exceeded quota: small, requested: cpu=1', "QuotaExceeded"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": …', "AdmissionDenied"),
        ("admission webhook policy.example.com denied the request: no", "AdmissionDenied"),
        ('error looking up service account payments/m: serviceaccount "m" not found', "AccountMissing"),
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


def test_long_sentences_are_cut() -> None:
    assert len(refusal("x" * 5000).message) == 1024
