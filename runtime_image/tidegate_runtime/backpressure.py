"""Who is read while more is asked for than can be run.

To refuse a request costs 20 to 100 µs, as much as a small model's answer: a server that reads everything in order to
refuse nine tenths of it has no time for the rest.  So only so many are refused at once; the connections of the others
are not read, which costs nothing and slows their senders down.  They are let in, in their order, as the queue has room,
or when the queue's timeout is over.  (With 2,048 connections that all ask, a model of 4 µs kept 2 % of its peak before
this; docs/performance.md has what is kept.)
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final, Protocol

from tidegate_runtime.admission import Admission

REFUSALS_A_SECOND: Final = 100.0  # some 1 % of a core
BURST: Final = 128.0
LOOK_SECONDS: Final = 0.001
POST: Final = b"POST "


class Unread(Protocol):
    """A connection on which a request has begun, and is not read further."""

    def let_in(self, first: bytes, since: float) -> None:
        """Read on where `first` ends; it has waited since `since` (time.monotonic)."""


class Backpressure:
    """Belongs to the loop; `patience` is the longest wait in seconds."""

    __slots__ = ("_admission", "_looking", "_patience", "_refilled", "_refusals", "_unread")

    def __init__(self, admission: Admission, patience: float) -> None:
        self._admission = admission
        self._patience = patience
        self._unread: deque[tuple[float, Unread, bytes]] = deque()
        self._refusals, self._refilled = BURST, time.monotonic()
        self._looking = False

    @property
    def on(self) -> bool:
        """Whether `holds_back` must be asked about a request that begins."""
        return self._admission.full or bool(self._unread)

    def holds_back(self, connection: Unread, first: memoryview) -> bool:
        """Whether the request that begins with `first` waits unread, now in the line: not if it is refused at once.

        Health and metadata, which are no POST, never wait.
        """
        now = time.monotonic()
        if POST[: len(first)] != first or (self._admission.full and self._may_refuse(now)):
            return False
        self._unread.append((now, connection, bytes(first)))
        self._admission.unread = len(self._unread)
        self._look_soon()
        return True

    def _may_refuse(self, now: float) -> bool:
        self._refusals = min(BURST, self._refusals + (now - self._refilled) * REFUSALS_A_SECOND)
        self._refilled = now
        if self._refusals < 1.0:
            return False
        self._refusals -= 1.0
        return True

    def _look_soon(self) -> None:
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """Let in as many as find a place in the queue, and whoever has waited long enough to be refused."""
        self._looking = False
        room, late = self._admission.room, time.monotonic() - self._patience
        while self._unread and (room > 0 or self._unread[0][0] < late):
            since, connection, first = self._unread.popleft()
            room -= 1
            connection.let_in(first, since)
        self._admission.unread = len(self._unread)
        if self._unread:
            self._look_soon()
