"""What is written of each request: who did what (`--audit-log`), and how it went (`--access-log`).

Never what was sent or answered, and never a token.  The audit log leaves out whether the server lives and is ready,
which nobody needs a token for; the access log has everything, or a sample of it.
"""

from __future__ import annotations

import random
import time
from asyncio import Transport
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from tidegate_runtime import trace_context
from tidegate_runtime.clients import OPEN
from tidegate_runtime.line_log import LineLog
from tidegate_runtime.request import Request
from tidegate_runtime.settings import Settings
from tidegate_runtime.tls import name_of

UNKNOWN: Final = "unknown"  # a path that leads nowhere, or no HTTP at all
LEFT: Final = 499  # as other servers write of a client that went away before its answer
MOST_TEXT: Final = 512  # of what a client chose: a path, an id


@dataclass(slots=True)  # not frozen: that costs 2 µs of a request's 26
class Answered:
    """A request that has its answer. Times are time.monotonic; 0.0 for those of a run that there was not."""

    protocol: str  # http or grpc
    path: str
    scope: str
    client: str
    code: int  # HTTP's, also of gRPC
    bytes_in: int
    bytes_out: int
    arrived: float
    answered: float
    started: float = 0.0
    ended: float = 0.0
    request_id: str = ""
    traceparent: str = ""


class RequestLog:
    """Both logs, of which at least one is on. `note` is called on the loop, once for each request."""

    def __init__(self, settings: Settings) -> None:
        """Opens the logs; raises Temporary where that cannot be done."""
        self._share = settings.access_log_sample
        self._names = {"model": settings.name, "revision": settings.revision}
        audit, access = settings.audit_log, settings.access_log
        self._audit = None if audit is None else LineLog("audit", audit, self._audit_line)
        self._access = None if access is None else LineLog("access", access, self._access_line)

    @property
    def logs(self) -> tuple[LineLog[Answered], ...]:
        return tuple(log for log in (self._audit, self._access) if log is not None)

    def names(self, model: str, revision: str) -> None:
        """What is served, now that it is known."""
        self._names = {"model": model, "revision": revision}

    def note(self, answered: Answered) -> None:
        if self._audit is not None and answered.scope != OPEN:
            self._audit.put(answered)
        if self._access is not None and (self._share >= 1.0 or random.random() < self._share):  # noqa: S311 - a sample
            self._access.put(answered)

    def _audit_line(self, answered: Answered) -> bytes:
        return orjson.dumps(self._who(answered))

    def _access_line(self, answered: Answered) -> bytes:
        times = {"totalMs": _milliseconds(answered.arrived, answered.answered)}
        if answered.ended:
            times["queueMs"] = _milliseconds(answered.arrived, answered.started)
            times["computeMs"] = _milliseconds(answered.started, answered.ended)
        context = trace_context.read(answered.traceparent, "")
        own = answered.request_id[:MOST_TEXT].encode("utf-8", "replace").decode()  # JSON has texts that are no Unicode
        ids = {"requestId": own, "traceId": f"{context.trace:032x}" if context else ""}
        said = {name: value for name, value in ids.items() if value}
        return orjson.dumps({**self._who(answered), "path": answered.path[:MOST_TEXT], **times, **said})

    def _who(self, answered: Answered) -> dict[str, Any]:
        ago = time.monotonic() - answered.answered  # from now: the clock on the wall may have been set since the start
        at = datetime.fromtimestamp(time.time() - ago, UTC)
        return {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "client": answered.client,
            **self._names,
            "protocol": answered.protocol,
            "scope": answered.scope,
            "code": answered.code,
            "bytesIn": answered.bytes_in,
            "bytesOut": answered.bytes_out,
        }


def answered_over_http(request: Request, code: int, size: int, transport: Transport) -> Answered:
    """A request as the logs have it, with an answer of `size` bytes; `transport` knows the client's certificate."""
    headers = request.headers
    return Answered(
        protocol="http",
        path=request.url.decode("latin-1"),
        scope=UNKNOWN if request.route is None else request.route.scope,
        client=request.client or name_of(transport.get_extra_info("peercert")),
        code=code,
        bytes_in=_received(request),
        bytes_out=size,
        arrived=request.arrived or time.monotonic(),
        answered=time.monotonic(),
        started=request.started,
        ended=request.ended,
        request_id=request.id or headers.get(b"x-request-id", b"").decode("latin-1"),
        traceparent=headers.get(b"traceparent", b"").decode("latin-1"),
    )


def _received(request: Request) -> int:
    """Bytes of the body as they came, which may have been unpacked since."""
    if request.chunks is not None:
        return len(request.chunks)
    return int(request.headers.get(b"content-length", b"0")) if len(request.body) else 0


def _milliseconds(begin: float, end: float) -> float:
    return round(1000.0 * max(0.0, end - begin), 3)
