"""A call of gRPC as the logs of requests have it, where one is on."""

from __future__ import annotations

import time
from collections.abc import Mapping

from tidegate_runtime.request_log import Answered, RequestLog


class Noted:
    """Collects what will be said of one call; `end` writes it, once."""

    __slots__ = ("_log", "_metadata", "_over", "_path", "_scope", "arrived", "client", "ended", "id", "received",
                 "started")  # fmt: skip

    def __init__(self, log: RequestLog, path: str, scope: str, metadata: Mapping[str, str]) -> None:
        self._log, self._path, self._scope, self._metadata = log, path, scope, metadata
        self.arrived, self._over = time.monotonic(), False  # later, where its message takes long to come
        self.client = self.id = ""
        self.received = 0  # bytes of the message
        self.started = self.ended = 0.0  # of its run

    def end(self, code: int, sent: int) -> None:
        """The call ended with a status of HTTP, and `sent` bytes of an answer."""
        if self._over:
            return
        self._over = True
        self._log.note(
            Answered(
                protocol="grpc",
                path=self._path,
                scope=self._scope,
                client=self.client,
                code=code,
                bytes_in=self.received,
                bytes_out=sent,
                arrived=self.arrived,
                answered=time.monotonic(),
                started=self.started,
                ended=self.ended,
                request_id=self.id or self._metadata.get("x-request-id", ""),
                traceparent=self._metadata.get("traceparent", ""),
            )
        )
