"""What can become of a request, told apart by what it means for asking again.

ClientError          `status` is HTTP's, 0 where there was no answer
 ├─ NotConnected     nothing was sent                                              asked again by the client
 ├─ ServerBusy       the server says "later" and has run nothing                   asked again by the client
 ├─ Unanswered       it was sent, and no answer came: it may have been run         asked again where that was allowed
 ├─ TimedOut         the time for it is over, here or at the server
 ├─ NotTrusted       the server's certificate cannot be verified, or the server does not take the client's
 ├─ RequestRefused   the request says something impossible: the same again will be refused again
 └─ ServerFailed     the model or the server failed on it, or the answer is none of the protocol
"""

from __future__ import annotations

from tidegate.errors import TidegateError


class ClientError(TidegateError):
    """A request that has no result; the message has the server's own sentence where there is one."""

    def __init__(self, what: str, *, where: str = "", do: str = "", status: int = 0) -> None:
        super().__init__(what, where=where, do=do)
        self.status = status


class NotConnected(ClientError):
    """No connection came about."""

    exit_code = 5
    reason = "NotConnected"


class ServerBusy(ClientError):
    """The queue is full, or the server cannot be asked now; `retry_after` is in seconds."""

    exit_code = 5
    reason = "ServerBusy"

    def __init__(self, what: str, *, where: str = "", status: int = 0, retry_after: float = 1.0) -> None:
        super().__init__(what, where=where, status=status)
        self.retry_after = retry_after


class Unanswered(ClientError):
    """The connection broke, or a proxy lost the server, after the request was sent."""

    exit_code = 5
    reason = "Unanswered"


class TimedOut(ClientError):
    """Out of time."""

    exit_code = 5
    reason = "Timeout"


class NotTrusted(ClientError):
    """Whoever answers cannot prove to be the host that was asked for, or wants a better proof of who asks."""

    reason = "CertificateInvalid"


class RequestRefused(ClientError):
    """Any other status below 500."""

    reason = "RequestRefused"


class ServerFailed(ClientError):
    """Any other status from 500 on, or nonsense."""

    reason = "ServerFailed"
