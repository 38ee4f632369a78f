"""Looking for the next request for a moment instead of sleeping, where each has followed the answer before it closely.

A client beside the server that asks one thing after another waits for the server to wake up each time: 40 to 70 µs of
160 for a tiny model on a virtual machine, and that waking costs as much CPU as the looking does.  Requests that come by
chance hardly ever follow sixteen answers in a row so closely, so a server under any other load sleeps as before
(docs/performance.md).
"""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop
from typing import Final

CLOSE_SECONDS: Final = 200e-6  # from an answer to the next request, its 110 KB included: 140 where it is slept between
IN_A_ROW: Final = 16


class BusyPoll:
    """Keeps a loop that has nothing to do awake after an answer, for at most CLOSE_SECONDS."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._answered = self._until = 0.0
        self._close = 0  # so many requests in a row came soon after the answer before
        self._looking = False

    def answered(self) -> None:
        """Nothing is left to do."""
        self._answered = time.monotonic()
        if self._close >= IN_A_ROW:
            self._until = self._answered + CLOSE_SECONDS
            if not self._looking:
                self._looking = True
                self._loop.call_soon(self._look)

    def asked(self) -> None:
        """There is something to do again."""
        self._until = 0.0
        self._close = self._close + 1 if time.monotonic() - self._answered < CLOSE_SECONDS else 0

    def _look(self) -> None:
        """What is due on the loop keeps it from sleeping; it looks at its sockets before it comes here again."""
        if time.monotonic() < self._until:
            self._loop.call_soon(self._look)
        else:
            self._looking = False
