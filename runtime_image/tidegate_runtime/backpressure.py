"""Who is read while more is asked for than can be run.

To refuse a request costs 20 to 100 µs, as much as a small model's answer: a server that reads everything in order to
refuse nine tenths of it has no time for the rest.  So only so many are refused at once; of the others the first piece
is kept and no more is read, which costs little and slows senders of large bodies down; a call of gRPC, whose
connection has others, is kept as far as its window lets it come.  They are let in, in their order, as the queue has
room, or when the queue's timeout is over.  (With 2,048 connections that all ask, a model of 4 µs kept 2 % of its peak
before this; docs/performance.md has what is kept.)
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
MOST_KEPT: Final = 16 * 1024 * 1024  # bytes of all who wait; beyond it no more than the method is read of a request
MOST_OF_ALL: Final = 4 * MOST_KEPT  # beyond it calls of gRPC are refused; one read of each connection comes in any case


class Unread(Protocol):
    """A connection on which a request has begun, or a call, and waits before it is looked at."""

    def let_in(self, first: bytes, since: float) -> None:
        """Read on where `first` ends; it has waited since `since` (time.monotonic)."""


class Backpressure:
    """Belongs to the loop; `patience` is the longest wait in seconds."""

    __slots__ = ("_admission", "_kept", "_looking", "_patience", "_refilled", "_refusals", "_unread", "thrifty")

    def __init__(self, admission: Admission, patience: float) -> None:
        self._admission = admission
        self._patience = patience
        self._unread: deque[tuple[float, Unread, bytes]] = deque()
        self._refusals, self._refilled = BURST, time.monotonic()
        self._looking = False
        self._kept = 0
        self.thrifty = False  # whether nothing should be read of who waits, and no more than `POST` of who begins

    @property
    def on(self) -> bool:
        """Whether `holds_back` must be asked about a request that begins."""
        return self._admission.full or bool(self._unread)

    def holds_back(self, connection: Unread, first: memoryview) -> bool:
        """Whether the request that begins with `first` waits, now in the line: not if it is refused at once.

        Health and metadata, which are no POST, never wait.
        """
        return first[: len(POST)] == POST[: len(first)] and self.holds(connection, bytes(first))

    def holds(self, one: Unread, first: bytes = b"") -> bool:
        """Whether `one` waits, now in the line: not if it is refused at once."""
        now = time.monotonic()
        if self._admission.full and self._may_refuse(now):
            return False
        self._unread.append((now, one, first))
        self.keep(len(first))
        self._admission.unread = len(self._unread)
        self._look_soon()
        return True

    def keep(self, size: int) -> None:
        """So many bytes of those who wait have come, or, below zero, are not kept any more."""
        self._kept += size
        self.thrifty = self._kept > MOST_KEPT

    @property
    def crammed(self) -> bool:
        """Whether nothing more can be kept of those who wait."""
        return self._kept > MOST_OF_ALL

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
            self.keep(-len(first))
            connection.let_in(first, since)
        self._admission.unread = len(self._unread)
        if self._unread:
            self._look_soon()
