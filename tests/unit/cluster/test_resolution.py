"""From a Job's last words to the answer that a plan waits for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidegate.api.status import ResolutionStatus
from tidegate.bundle.manifest import TensorSpec
from tidegate.cluster.resolution import Work, pinned, resolved
from tidegate.plan.observed import FailureClass, Resolved

from .pods import DIGEST, FOUND, Object, ended, finished, pod, waiting

MADE = datetime(2026, 1, 1, tzinfo=UTC)  # the pods of pods.py
ASKED = ResolutionStatus(key="abc", attempt=2)


def answer(*pods: Object, job: Object | None = None, after: float = 600) -> Resolved | None:
    """What is answered so many seconds after the pods were made."""
    return resolved(
        ASKED, Work(job, pods, "pvc://models/fraud/1", "tidegate/runtime:1"), MADE + timedelta(seconds=after)
    )


def job(**status: Any) -> Object:
    return {"metadata": {"name": "fraud-abc-2", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status}


def job_failed(reason: str) -> Object:
    return job(conditions=[{"type": "Failed", "status": "True", "reason": reason, "message": "too late"}])


def test_a_finished_job_answers_with_all_that_a_rollout_must_know() -> None:
    found = answer(pod(containers=[finished(0, FOUND)]))

    assert found is not None
    assert (found.key, found.attempt, found.failure) == ("abc", 2, None)
    assert found.resolution is not None
    assert found.resolution.digest == DIGEST
    assert found.resolution.uri == "pvc://models/fraud/1"
    assert found.resolution.has_golden
    assert found.resolution.labels == ("a", "b")
    assert found.resolution.interface.outputs == (TensorSpec("y", "FP32", ("batch", 2), optional=True),)
    assert found.resolution.image == "tidegate/runtime:1"


def test_the_memory_that_an_encrypted_bundle_takes_is_known_and_none_of_one_that_is_not() -> None:
    found = [answer(pod(containers=[finished(0, said)])) for said in (FOUND, {**FOUND, "plainBytes": 1_048_576})]

    assert [one and one.resolution and one.resolution.plain_bytes for one in found] == [0, 1_048_576]


def test_the_image_is_pinned_to_what_the_node_pulled() -> None:
    digest = "sha256:" + "2" * 64
    found = answer(pod(containers=[finished(0, FOUND, f"docker-pullable://r.example.com/runtime@{digest}")]))

    assert found is not None
    assert found.resolution is not None
    assert found.resolution.image == f"r.example.com/runtime@{digest}"


@pytest.mark.parametrize("image_id", ["", "sha256:" + "2" * 64, "some-id"])
def test_an_image_without_a_known_digest_stays_as_it_was_named(image_id: str) -> None:
    assert pinned("tidegate/runtime:1", image_id) == "tidegate/runtime:1"


@pytest.mark.parametrize(
    ("pods", "job", "class_", "reason"),
    [
        ([pod(containers=[finished(1, {"reason": "SignatureMissing", "message": "m"})])], None, "Content", "SignatureMissing"),
        ([pod(containers=[finished(1, {"reason": "NotFound", "message": "m"})])], None, "Environment", "NotFound"),
        ([pod(containers=[finished(5, {"reason": "Unreachable", "message": "m"})])], None, "Environment", "Unreachable"),
        ([pod(containers=[waiting("ErrImagePull", "no such image")])], None, "Environment", "ImagePull"),
        ([pod(containers=[ended(137, reason="OOMKilled")])], None, "Environment", "OutOfMemory"),
        ([], job_failed("DeadlineExceeded"), "Environment", "ResolveTimeout"),
        ([], job_failed("BackoffLimitExceeded"), "Environment", "ResolveFailed"),
        ([pod(containers=[finished(0, {"apiVersion": "of/another/version"})])], None, "Environment", "ResolveFailed"),
        ([pod(containers=[finished(0, {**FOUND, "interface": {"inputs": 3}})])], None, "Environment", "ResolveFailed"),
        ([pod(containers=[finished(0, {**FOUND, "omitted": ["labels", "interface"]})])], None, "Content", "TooLarge"),
    ],
)  # fmt: skip
def test_whatever_keeps_a_job_from_answering_is_told(
    pods: list[Object], job: Object | None, class_: str, reason: str
) -> None:
    found = answer(*pods, job=job)

    assert found is not None
    assert found.failure is not None
    assert (found.failure.class_, found.failure.reason) == (FailureClass(class_), reason)


def test_a_pod_without_room_may_yet_get_some() -> None:
    no_room = pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}])

    assert answer(no_room, after=59) is None
    found = answer(no_room, after=60)
    assert found is not None
    assert found.failure is not None
    assert found.failure.reason == "Unschedulable"


def test_labels_that_are_too_many_to_be_told_are_known_by_their_digest() -> None:
    said = {name: value for name, value in FOUND.items() if name != "labels"}
    found = answer(pod(containers=[finished(0, {**said, "omitted": ["labels"], "labelsDigest": "ab12"})]))

    assert found is not None
    assert found.resolution is not None
    assert found.resolution.labels == ("ab12",)


@pytest.mark.parametrize("made", [None, job(), job(conditions=[{"type": "Complete", "status": "True"}])])
def test_without_last_words_there_is_no_answer_yet(made: Any) -> None:
    assert answer(pod(), job=made) is None


def test_a_job_that_gets_no_pod_says_where_to_look() -> None:
    assert answer(job=job(), after=8) is None
    found = answer(job=job(), after=9)
    assert found is not None
    assert found.failure is not None
    assert (found.failure.class_, found.failure.reason) == (FailureClass.ENVIRONMENT, "PodsRefused")
    assert "kubectl describe job fraud-abc-2" in found.failure.message


@pytest.mark.parametrize("count", ["active", "succeeded", "failed"])
def test_a_job_whose_pods_are_counted_had_some(count: str) -> None:
    assert answer(job=job(**{count: 1})) is None


def test_a_claim_that_is_not_there_is_told_at_once() -> None:
    message = '0/3 nodes are available: persistentvolumeclaim "models" not found. not found'
    no_claim = pod(
        conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]
    )

    found = answer(no_claim, after=0)

    assert found is not None
    assert found.failure is not None
    assert found.failure.reason == "MountMissing"
