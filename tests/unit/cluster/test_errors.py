"""What the API server's answers mean. The messages are those of Kubernetes 1.36, shortened."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.cluster.wire import status

from tidegate.cluster.errors import (
    MESSAGE_LIMIT,
    RETRY_AFTER_LIMIT,
    AlreadyExists,
    ApiDown,
    ClusterError,
    Conflict,
    Expired,
    Forbidden,
    LoginFailed,
    NamespaceTerminating,
    NotFound,
    QuotaExceeded,
    Refused,
    Throttled,
    Unauthorized,
    error_of,
)
from tidegate.errors import Temporary

POD_SECURITY = 'pods "a" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
MISSING_RIGHT = 'deployments.apps is forbidden: User "system:serviceaccount:t:o" cannot create resource "deployments"'
WEBHOOK = 'admission webhook "policy.example.com" denied the request: no'
POLICY = "deployments.apps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"
QUOTA = 'jobs.batch "a" is forbidden: exceeded quota: q, requested: count/jobs.batch=1, used: 1, limited: 1'
ENDING = 'deployments.apps "a" is forbidden: unable to create new content in namespace n because it is being terminated'
CASES = [
    (status(400, "BadRequest", "strict decoding error"), Refused),
    (status(401, "Unauthorized", "Unauthorized"), Unauthorized),
    (status(403, "Forbidden", MISSING_RIGHT), Forbidden),
    (status(403, "Forbidden", QUOTA), QuotaExceeded),
    (status(403, "Forbidden", ENDING), NamespaceTerminating),
    (status(403, "Forbidden", "no", causes=[{"reason": "NamespaceTerminating"}]), NamespaceTerminating),
    (status(403, "Forbidden", POD_SECURITY), Refused),
    (status(403, "Forbidden", WEBHOOK), Refused),
    ((403, {}), Forbidden),
    (status(404, "NotFound", 'namespaces "n" not found'), NotFound),
    (status(409, "AlreadyExists", 'services "a" already exists'), AlreadyExists),
    (status(409, "Conflict", "the object has been modified"), Conflict),
    (status(409, "Conflict", 'Operation cannot be fulfilled on resourcequotas "q"'), Conflict),
    (status(410, "Expired", "The provided continue parameter is too old"), Expired),
    (status(413, "RequestEntityTooLarge", "too large"), Refused),
    (status(415, "UnsupportedMediaType", "no"), Refused),
    (status(422, "Invalid", "spec.replicas: Invalid value"), Refused),
    (status(422, "Invalid", POLICY), Refused),
    (status(422, "Invalid", "immutable", causes=[{"reason": "FieldValueInvalid", "field": "metadata.uid"}]), Conflict),
    (status(429, "TooManyRequests", "too many requests"), Throttled),
    (status(500, "InternalError", "failed calling webhook: connection refused"), ApiDown),
    (status(503, "ServiceUnavailable", "apiserver is shutting down"), ApiDown),
    (status(504, "Timeout", "request did not complete within the allotted timeout"), ApiDown),
    ((502, {}), ApiDown),
    ((301, {}), ClusterError),
]


@pytest.mark.parametrize(
    ("answer", "kind"), CASES, ids=[f"{case[0][0]}-{case[1].__name__}-{i}" for i, case in enumerate(CASES)]
)
def test_each_answer_is_told_from_the_others(answer: tuple[int, dict[str, Any]], kind: type[ClusterError]) -> None:
    assert type(error_of(*answer, "create jobs n/a")) is kind


def test_an_error_says_where_what_and_what_to_do() -> None:
    error = error_of(*status(403, "Forbidden", QUOTA), "create jobs n/a")

    assert str(error) == f"create jobs n/a: {QUOTA}: raise the namespace's quota, or free some of it"


def test_an_answer_without_words_is_told_by_its_number() -> None:
    assert "answered 502" in str(error_of(502, {}, "get pods n/a"))


@pytest.mark.parametrize(
    ("header", "details", "seconds"),
    [("7", {}, 7), ("", {"retryAfterSeconds": 3}, 3), ("5", {"retryAfterSeconds": 3}, 5), ("", {}, 1),
     ("Wed, 21 Oct 2026 07:28:00 GMT", {}, 1), ("99999", {}, RETRY_AFTER_LIMIT), ("-4", {}, 0)],
)  # fmt: skip
def test_how_long_to_stay_away_is_read_wherever_it_stands(header: str, details: dict[str, Any], seconds: float) -> None:
    error = error_of(*status(429, "TooManyRequests", "", **details), "", retry_after=header)

    assert isinstance(error, Throttled)
    assert error.retry_after == seconds


def test_what_may_work_later_is_temporary() -> None:
    assert [kind for kind in (ApiDown, Throttled, Conflict) if issubclass(kind, Temporary)] == [
        ApiDown, Throttled, Conflict,
    ]  # fmt: skip
    assert ApiDown("x").exit_code == Temporary.exit_code


def test_a_failed_login_is_the_callers_mistake() -> None:
    assert LoginFailed("x").exit_code == 2


def test_a_message_has_a_limit() -> None:
    assert len(error_of(*status(422, "Invalid", "x" * 100_000), "").what) == MESSAGE_LIMIT


def test_nonsense_in_a_status_is_survived() -> None:
    assert type(error_of(403, {"message": "x", "details": "y"}, "")) is Refused
