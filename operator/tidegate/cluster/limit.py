"""How many requests to the API server may be under way at once, learned from how it answers.

A fixed rate is either too low (controllers at their clients' defaults are bound by their own throttle: 1,000 objects
took three peers 160 to 552 s) or too high for a server in trouble.  So: one more for every round of answers that were
fine, half after an answer that says "too many" or none at all, and silence for as long as Retry-After asks.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

START = 32
MOST = 128
SETTLE_SECONDS = 1.0  # failures within it have one cause and cost one halving


class Limit:
    """`async with limit:` around each request, and `fine` or `suffered` after it."""

    def __init__(self, start: float = START, most: float = MOST) -> None:
        self._allowed = start
        self._most = most
        self._under_way = 0
        self._turn = asyncio.Condition()
        self._halved = float("-inf")
        self._silent_until = float("-inf")

    @property
    def allowed(self) -> int:
        return max(1, int(self._allowed))

    async def __aenter__(self) -> None:
        async with self._turn:
            await self._turn.wait_for(lambda: self._under_way < self.allowed)
            self._under_way += 1
        try:
            await self._silence()
        except BaseException:
            await self._leave()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    def fine(self) -> None:
        self._allowed = min(self._most, self._allowed + 1 / self._allowed)

    def suffered(self, retry_after: float = 0.0) -> None:
        """The server is in trouble; `retry_after` is how long it wants to be left alone."""
        now = asyncio.get_running_loop().time()
        self._silent_until = max(self._silent_until, now + retry_after)
        if now - self._halved >= SETTLE_SECONDS:
            self._halved = now
            self._allowed = max(1.0, self._allowed / 2)

    async def _silence(self) -> None:
        """Wait until the server may be asked again; somebody's answer can make it later meanwhile."""
        loop = asyncio.get_running_loop()
        while (left := self._silent_until - loop.time()) > 0:  # noqa: ASYNC110 - a clock, not a state
            await asyncio.sleep(left)

    async def _leave(self) -> None:
        self._under_way -= 1
        async with self._turn:
            self._turn.notify(2)  # two: the limit may have grown by one
