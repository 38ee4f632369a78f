"""Shows sampled requests, with the answers users got, to the candidate, and costs the users nothing.

The loop only samples and queues, after its client was answered; a thread of its own sends.  What does not fit into
64 places or one MiB is dropped and counted.  Shadowing ends by itself when nobody renews it: a lost operator leaves
no traffic behind.
"""

from __future__ import annotations

import queue
import random
import threading
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from tidegate_runtime.interfaces import Array, Body
from tidegate_runtime.low_priority import be_nice
from tidegate_runtime.shadow_wire import Shadowed, pack
from tidegate_runtime.trace_context import TraceContext
from tidegate_runtime.watched_file import TokenFile

if TYPE_CHECKING:
    from http.client import HTTPConnection

PLACES = 64
MAX_BYTES = 2**20
MOST_HELD = 16 * 2**20  # of all that waits: shadowing must never be what fills a pod's memory
SEND_SECONDS = 5.0
ACCEPTED = 202


@dataclass(frozen=True, slots=True)
class Target:
    """Where to, how many and until when; the token is the candidate's and never shown, empty: this server's own."""

    host: str
    port: int
    share: float  # 0..1
    until: float  # time.monotonic
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One request to be shown: how many bytes it holds, and the place of its span where it is traced."""

    shadowed: Shadowed
    size: int
    trace: TraceContext | None


class ShadowSender:
    """See `interfaces.Shadow`. `aim` and `offer` may be called from any thread."""

    def __init__(self, identity: Path | None = None) -> None:
        self.wants = False
        self.dropped = 0
        self.target: Target | None = None
        self._identity = TokenFile(identity)
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(PLACES)
        self._came = self._went = 0  # bytes; the loop writes the one, the sender the other
        self._thread: threading.Thread | None = None

    def aim(self, target: Target | None) -> None:
        """Shadow to this target from now on; None ends it."""
        self.target = target
        self.wants = target is not None and target.share > 0
        if self.wants and self._thread is None:
            self._thread = threading.Thread(target=self._send_all, name="shadow", daemon=True)
            self._thread.start()

    def offer(
        self, body: Body, header_length: int | None, outputs: dict[str, Array], trace: TraceContext | None = None
    ) -> None:
        """Perhaps queue this answered request; never blocks."""
        target = self.target
        if target is None or random.random() >= target.share:  # noqa: S311 - a sample, not a secret
            return
        if monotonic() > target.until:
            self.wants = False
            return
        answer = sum(array.nbytes for array in outputs.values())
        size = len(body) + answer
        if max(len(body), answer) > MAX_BYTES or self._came - self._went + size > MOST_HELD:
            self.dropped += 1
            return
        try:
            self._queue.put_nowait(_Waiting(Shadowed(bytes(body), header_length, outputs), size, trace))
        except queue.Full:
            self.dropped += 1
        else:
            self._came += size

    def stop(self) -> None:
        """Send no more."""
        self.aim(None)
        if self._thread is not None:
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                self._queue.get_nowait()
                self._queue.put_nowait(None)

    def _send_all(self) -> None:
        be_nice()
        connection = _Connection()
        while (waiting := self._queue.get()) is not None:
            self._went += waiting.size
            target = self.target
            if target is None or monotonic() > target.until:
                continue  # its time is over: what still waits is neither sent nor missed
            headers = {} if waiting.trace is None else waiting.trace.headers()
            headers["Authorization"] = f"Bearer {target.token or self._identity.token()}"
            if not connection.send(target, pack(waiting.shadowed), headers):
                self.dropped += 1
        connection.close()


class _Connection:
    """One kept-alive connection to the candidate's metrics port, opened again after any failure."""

    def __init__(self) -> None:
        self._connection: HTTPConnection | None = None
        self._to = ("", 0)

    def send(self, target: Target, content: bytes, headers: dict[str, str]) -> bool:
        """Post one comparison; false when it was not taken."""
        from http.client import HTTPConnection, HTTPException  # 3 MB that a server without a rollout never needs

        if self._connection is None or self._to != (target.host, target.port):
            self.close()
            self._to = (target.host, target.port)
            self._connection = HTTPConnection(target.host, target.port, timeout=SEND_SECONDS)
        try:
            self._connection.request("POST", "/internal/compare", content, headers)
            response = self._connection.getresponse()
            response.read()
        except (OSError, HTTPException, ValueError):  # ValueError: a token that fits into no header
            self.close()
            return False
        return response.status == ACCEPTED

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
