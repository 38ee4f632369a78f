"""A Job and its pod are watched apart: the one's end may be seen before the other's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tidegate.api.status import ResolutionStatus
from tidegate.cluster.resolution import Work, resolved
from tidegate.plan.observed import Resolved

from .pods import Object, finished, pod

FAILED = datetime(2026, 1, 1, tzinfo=UTC)


def answer(*pods: Object, after: float, reason: str = "BackoffLimitExceeded") -> Resolved | None:
    """What a Job that failed so many seconds ago answers with these pods."""
    condition = {
        "type": "Failed", "status": "True", "reason": reason, "message": "it failed",
        "lastTransitionTime": FAILED.isoformat(),
    }  # fmt: skip
    metadata = {"name": "fraud-abc-1", "creationTimestamp": FAILED.isoformat()}
    work = Work({"metadata": metadata, "status": {"conditions": [condition]}}, pods, "pvc://models/1", "runtime:1")
    return resolved(ResolutionStatus(key="abc", attempt=1), work, FAILED + timedelta(seconds=after))


@pytest.mark.parametrize("seen", [(), (pod(phase="Running"),)])
def test_the_words_of_a_pod_are_waited_for_when_its_job_is_seen_to_fail_first(seen: tuple[Object, ...]) -> None:
    assert answer(*seen, after=3) is None
    assert answer(*seen, after=31) is not None

    found = answer(pod(containers=[finished(1, {"reason": "ManifestInvalid", "message": "no"})]), after=3)

    assert found is not None
    assert found.failure is not None
    assert (found.failure.class_, found.failure.reason) == ("Content", "ManifestInvalid")


def test_a_job_that_ran_out_of_time_has_no_words_to_wait_for() -> None:
    found = answer(after=1, reason="DeadlineExceeded")

    assert found is not None
    assert found.failure is not None
    assert found.failure.reason == "ResolveTimeout"
