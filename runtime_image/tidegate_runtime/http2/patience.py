"""How much a peer may ask of us without letting us answer anything.

A frame of nine bytes that makes work (a reset, a ping, each of its settings, an empty frame) costs a token; an answered
call gives some back, and so does time.  Who has none left is only making work (CVE-2023-44487, CVE-2019-9512 to 9518,
CVE-2024-27316): the connection ends with ENHANCE_YOUR_CALM.
"""

from __future__ import annotations

import time
from typing import Final

from tidegate_runtime.http2.frames import Code, ConnectionFault

MOST: Final = 1000.0
A_SECOND: Final = 50.0
AN_ANSWER: Final = 4.0  # clients of Go send a PING and some window updates for each


class Patience:
    """The tokens of one connection."""

    __slots__ = ("_looked", "_tokens")

    def __init__(self) -> None:
        self._tokens = MOST
        self._looked = time.monotonic()

    def spend(self) -> None:
        """One more frame of that kind; raises ConnectionFault when it is one too many."""
        self._tokens -= 1.0
        if self._tokens >= 0.0:
            return
        now = time.monotonic()
        self._tokens += min(MOST, (now - self._looked) * A_SECOND)
        self._looked = now
        if self._tokens < 0.0:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many frames that ask for nothing")

    def answered(self) -> None:
        if self._tokens < MOST:
            self._tokens += AN_ANSWER
