"""What is asked of the metrics API, and how it is answered."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tidegate.cluster.metrics_api.documents import Problem, Subject, status, subject_of, values


@pytest.mark.parametrize(
    ("selector", "subject"),
    [
        ("model=fraud", Subject("fraud")),
        ("model=fraud,revision=abc", Subject("fraud", "abc")),
        ("revision==abc, model == fraud", Subject("fraud", "abc")),
    ],
)
def test_a_selector_names_a_deployment_and_perhaps_a_revision(selector: str, subject: Subject) -> None:
    assert subject_of(selector) == subject


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ("", "model=NAME"),
        ("revision=abc", "model=NAME"),
        ("app=fraud", "'app=fraud' is none of"),
        ("model", "'model' is none of"),
        ("model!=fraud", "is none of"),
        ("model in (fraud)", "is none of"),
        ("model=fraud,", "is none of"),
    ],
)
def test_a_selector_that_is_not_understood_is_refused_with_what_to_write(selector: str, says: str) -> None:
    with pytest.raises(Problem) as found:
        subject_of(selector)

    assert found.value.code == 400
    assert says in found.value.message


def test_a_value_is_written_in_thousandths() -> None:
    made = values("tidegate_concurrency", Subject("fraud", "abc"), 6.25, datetime(2026, 1, 1, tzinfo=UTC), 14.9)

    assert made["items"] == [
        {
            "metricName": "tidegate_concurrency", "metricLabels": {"model": "fraud", "revision": "abc"},
            "timestamp": "2026-01-01T00:00:00Z", "window": 15, "value": "6250m",
        }
    ]  # fmt: skip


def test_what_may_pass_says_when_to_ask_again() -> None:
    assert status(Problem(503, "no server is ready", 1))["details"] == {"retryAfterSeconds": 1}
    assert "details" not in status(Problem(404, "there is none"))
