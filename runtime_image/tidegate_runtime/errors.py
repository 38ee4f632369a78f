"""What can go wrong with one request, as the client sees it.

RequestError         status and a sentence; never a path, a trace or a value of somebody else's request
 ├─ BadRequest       400   the request says something impossible
 ├─ Unauthenticated  401   a token is needed, or nobody knows the one that came
 ├─ PermissionDenied 403   the client may do other things, and not this
 ├─ NotFound         404   another model, another version, no such path
 ├─ TooLarge         413   more bytes or numbers than allowed
 ├─ Throttled        429   the queue is full or the wait was too long; has Retry-After
 ├─ RunFailed        500   the model failed on this input, or gave what the protocol cannot carry
 ├─ Unavailable      503   not ready, stuck
 │   ├─ DeviceFull   503   too little memory on the GPU for this run; gRPC: RESOURCE_EXHAUSTED
 │   └─ DeviceLost   503   the GPU cannot be used any more: the process must end
 └─ TooSlow          504   the run was ended at its deadline
"""

from __future__ import annotations

from typing import Final

NO_TIME_LEFT: Final = "no time was left to run it"


class RequestError(Exception):
    """An answer other than 200."""

    status = 500
    grpc: str | None = None  # gRPC's name for it; None: what `status` is called there
    headers = b""  # that go with the answer over HTTP

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.status = status or type(self).status


class BadRequest(RequestError):
    """The client can mend it."""

    status = 400


class Unauthenticated(RequestError):
    """Who asks?"""

    status = 401
    headers = b"www-authenticate: Bearer\r\n"


class PermissionDenied(RequestError):
    """Not you."""

    status = 403


class NotFound(RequestError):
    """Nothing of this name here."""

    status = 404


class TooLarge(RequestError):
    """Beyond a limit."""

    status = 413


class Throttled(RequestError):
    """Later, please."""

    status = 429

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.headers = b"retry-after: %d\r\n" % retry_after


class RunFailed(RequestError):
    """The model's fault."""

    status = 500


class Unavailable(RequestError):
    """Not now."""

    status = 503


class DeviceFull(Unavailable):
    """The GPU has no memory for this run; the server goes on."""

    grpc = "RESOURCE_EXHAUSTED"


class DeviceLost(Unavailable):
    """Every run from now on fails: liveness fails, and the server is restarted."""


class TooSlow(RequestError):
    """Out of time."""

    status = 504
