from __future__ import annotations

import pytest

from tidegate.errors import Failed
from tidegate.plan.outcome import Outcome, awaited, outcome, overall, settled

from .statuses import status_of


def test_promoted_and_ready_is_zero() -> None:
    assert outcome(status_of("Promoted", "Ready"), 1) is Outcome.SERVING


def test_rejected_while_the_stable_version_serves_is_three() -> None:
    assert outcome(status_of("Stalled", "Ready"), 1) is Outcome.RETURNED


def test_rejected_with_nothing_that_serves_is_one() -> None:
    assert outcome(status_of("Stalled"), 1) is Outcome.FAILED


def test_what_may_pass_with_nothing_that_serves_is_five() -> None:
    rejected = {"key": "k", "class": "Environment", "reason": "Because", "at": "2026-01-01T00:00:00Z"}

    assert outcome(status_of("Stalled", rejected=[rejected]), 1) is Outcome.TEMPORARY
    assert outcome(status_of("Stalled", "Ready", rejected=[rejected]), 1) is Outcome.RETURNED
    assert outcome(status_of("Stalled", rejected=[{**rejected, "class": "Content"}]), 1) is Outcome.FAILED


def test_a_status_of_the_spec_before_says_nothing() -> None:
    assert outcome(status_of("Promoted", "Ready"), 2) is Outcome.UNSETTLED


def test_of_several_deployments_a_failed_one_decides() -> None:
    assert overall([Outcome.SERVING, Outcome.FAILED, Outcome.RETURNED]) is Outcome.FAILED
    assert overall([Outcome.SERVING, Outcome.RETURNED]) is Outcome.RETURNED
    assert not settled([Outcome.SERVING, Outcome.UNSETTLED])


@pytest.mark.parametrize(
    ("true", "wanted", "said"),
    [
        (("Promoted", "Ready"), "promoted", "fraud is promoted"),
        (("Promoted", "Ready"), "settled", "fraud is settled"),
        (("Ready",), "ready", "fraud is ready"),
        (("Ready",), "promoted", None),
        (("Promoted",), "ready", None),
        (("Stalled", "Ready"), "ready", "fraud is ready: Because: it was so"),
        (("Stalled", "Ready"), "settled", "fraud is settled: Because: it was so"),
        (("Stalled",), "settled", "fraud is settled: Because: it was so"),
    ],
)
def test_a_wait_ends_with_what_it_waited_for(true: tuple[str, ...], wanted: str, said: str | None) -> None:
    assert awaited("fraud", status_of(*true), 1, wanted) == said


@pytest.mark.parametrize(("true", "wanted"), [(("Stalled", "Ready"), "promoted"), (("Stalled",), "ready")])
def test_a_wait_for_what_will_not_come_fails_with_the_reason(true: tuple[str, ...], wanted: str) -> None:
    with pytest.raises(Failed, match="Because: it was so"):
        awaited("fraud", status_of(*true), 1, wanted)


def test_a_wait_for_a_spec_that_nobody_has_looked_at_goes_on() -> None:
    assert awaited("fraud", status_of("Promoted"), 2, "settled") is None
