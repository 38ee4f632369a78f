"""What the API server can answer that is no success, told apart by what to do next.

ClusterError (TidegateError)            an answer that fits no other class
 ├─ ApiDown (also Temporary)            5xx, no connection, no answer in time: a write may have taken effect
 ├─ Throttled (also Temporary)          429; `retry_after` says how long to stay away
 ├─ Conflict (also Temporary)           409 of an update: what was planned on is out of date
 ├─ AlreadyExists                       409 of a create: the name is taken, perhaps by a stranger
 ├─ NotFound                            404 of a write: the object, its namespace or its kind is gone
 ├─ Expired                             410: a list that was read in pages is too old to go on
 ├─ Unauthorized                        401: the credentials are not accepted
 ├─ Forbidden                           403: the role lacks a verb
 │   └─ NamespaceTerminating            the namespace is being deleted: nothing can be made in it any more
 ├─ QuotaExceeded                       403 of a ResourceQuota: passes when somebody makes room
 ├─ Refused                             400, 413, 422, or an admission rule: the same again gives the same answer
 ├─ NotLeader                           the lease is not ours any more: nothing was sent
 └─ LoginFailed                         no usable kubeconfig or service account

`error_of` reads the class from the HTTP status and the `Status` document, whose reason and causes are more exact than
the number: 403 is a missing right, a quota, a dying namespace or an admission rule; 409 of a create can be a quota's
own race.  Nothing is retried here: the queue does that, after planning anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tidegate.errors import Temporary, TidegateError, UsageError

MESSAGE_LIMIT = 1024
RETRY_AFTER_LIMIT = 60.0
MISSING_RIGHT = re.compile(r'User "[^"]*" cannot ')


class ClusterError(TidegateError):
    """The API server answered something that is no success."""

    reason = "ApiError"


class ApiDown(ClusterError, Temporary):
    """No answer, or one that says the server is in trouble. Whether a write took effect is unknown."""

    reason = "ApiDown"


class Throttled(ClusterError, Temporary):
    """The server asks us to come back later."""

    reason = "ApiThrottled"

    def __init__(self, what: str, *, where: str = "", do: str = "", retry_after: float = 1.0) -> None:
        super().__init__(what, where=where, do=do)
        self.retry_after = retry_after


class Conflict(ClusterError, Temporary):
    """Somebody else wrote first."""

    reason = "Conflict"


class AlreadyExists(ClusterError):
    """An object of that name is there already."""

    reason = "AlreadyExists"


class NotFound(ClusterError):
    """The object, its namespace or its kind is not there (any more)."""

    reason = "NotFound"


class Expired(ClusterError):
    """What was read so far is too old to go on from."""

    reason = "Expired"


class Unauthorized(ClusterError):
    """The server does not know us."""

    reason = "ApiUnauthorized"


class Forbidden(ClusterError):
    """The server knows us, but we may not do this."""

    reason = "Forbidden"


class NamespaceTerminating(Forbidden):
    """The namespace is being deleted."""

    reason = "NamespaceTerminating"


class QuotaExceeded(ClusterError):
    """A ResourceQuota of the namespace is used up."""

    reason = "QuotaExceeded"


class Refused(ClusterError):
    """The server, or an admission rule, refuses this object; unchanged it always will."""

    reason = "ApiRefused"


class NotLeader(ClusterError):
    """The lease is lost, or nearly: a write now could cross one of the next leader's."""

    reason = "NotLeader"


class LoginFailed(ClusterError, UsageError):
    """There is no way to the API server from here."""

    reason = "LoginFailed"
    exit_code = 2


NEXT_STEP: Mapping[type[ClusterError], str] = {
    Unauthorized: "renew the credentials of the kubeconfig or service account",
    Forbidden: "grant the verb to the operator's role",
    QuotaExceeded: "raise the namespace's quota, or free some of it",
}
BY_CODE: Mapping[int, type[ClusterError]] = {401: Unauthorized, 404: NotFound, 408: ApiDown, 410: Expired}


def error_of(code: int, status: Mapping[str, Any], where: str, *, retry_after: str = "") -> ClusterError:
    """The error that an answer with this code and `Status` document is."""
    message = shortened(str(status.get("message") or f"the API server answered {code}"))
    if code == 429:  # noqa: PLR2004
        return Throttled(message, where=where, retry_after=seconds(retry_after, details(status)))
    kind = class_of(code, status, message)
    return kind(message, where=where, do=NEXT_STEP.get(kind, ""))


def class_of(code: int, status: Mapping[str, Any], message: str) -> type[ClusterError]:
    if code == 403:  # noqa: PLR2004
        return class_of_forbidden(status, message)
    if code == 409:  # noqa: PLR2004
        # A create can race with a quota's bookkeeping: reason Conflict, and nothing of that name is there.
        return AlreadyExists if status.get("reason") == "AlreadyExists" else Conflict
    if code == 422 and "metadata.uid" in fields(status):  # noqa: PLR2004
        return Conflict  # an apply that named the uid of a predecessor
    if code >= 500:  # noqa: PLR2004
        return ApiDown
    return BY_CODE.get(code, Refused if code >= 400 else ClusterError)  # noqa: PLR2004


def class_of_forbidden(status: Mapping[str, Any], message: str) -> type[ClusterError]:
    """Four things that 403 can mean; only the first is about our role."""
    if MISSING_RIGHT.search(message):
        return Forbidden
    if "NamespaceTerminating" in reasons(status) or "because it is being terminated" in message:
        return NamespaceTerminating
    if "exceeded quota" in message:
        return QuotaExceeded
    return Refused if status.get("message") else Forbidden


def reasons(status: Mapping[str, Any]) -> set[str]:
    return {str(cause.get("reason")) for cause in details(status).get("causes") or ()}


def fields(status: Mapping[str, Any]) -> set[str]:
    return {str(cause.get("field")) for cause in details(status).get("causes") or ()}


def details(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found = status.get("details")
    return found if isinstance(found, Mapping) else {}


def seconds(header: str, told: Mapping[str, Any]) -> float:
    """How long to stay away: the header when it is a number of seconds, else the details, else a second."""
    for text in (header, str(told.get("retryAfterSeconds") or "")):
        try:
            return min(RETRY_AFTER_LIMIT, max(0.0, float(text)))
        except ValueError:
            continue
    return 1.0


def shortened(text: str) -> str:
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"
