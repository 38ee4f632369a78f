"""How a server ends without losing a request.

1. readiness fails, and every answer over HTTP says `Connection: close`;
2. for the delay it goes on accepting and serving, until everybody has stopped sending new requests;
3. the line of waiting connections is let in, then the listener is closed; gRPC's clients are sent GOAWAY;
4. idle connections are closed, the rest finished; at the end of the drain time what is left is cut off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from tidegate_runtime.health import Health, Phase

# The runner that started this server is gone: nothing may be left of it five seconds later.
HURRIED_DELAY: Final = 0.5
HURRIED_DRAIN: Final = 3.0


class Door(Protocol):
    """A port of the model, as its end sees it."""

    async def end(self, in_time: Callable[[], bool]) -> bool:
        """Steps 3 and 4, as long as there is time; whether everything was answered."""


class Drain:
    """Begins once, by a signal or the lifeline; `done` is true when everything was answered or cut off."""

    def __init__(self, health: Health, delay: float, drain: float) -> None:
        self._health = health
        self._delay, self._drain = delay, drain
        self._begun = asyncio.Event()
        self._hurried = asyncio.Event()
        self._listen_until = self._end = float("inf")

    def begin(self) -> None:
        """SIGTERM."""
        if self._begun.is_set():
            return
        now = time.monotonic()
        self._listen_until, self._end = now + min(self._delay, self._drain), now + self._drain
        self._health.phase = Phase.DRAINING
        self._begun.set()

    def hurry(self) -> None:
        """The runner is gone, or somebody pressed Ctrl-C: the same in seconds, also when it has begun before."""
        self.begin()
        now = time.monotonic()
        self._listen_until = min(self._listen_until, now + HURRIED_DELAY)
        self._end = min(self._end, now + HURRIED_DRAIN)
        self._hurried.set()

    async def begun(self) -> None:
        await self._begun.wait()

    async def carry_out(self, *doors: Door) -> bool:
        """Steps 2 to 4; whether everything was answered in time."""
        await self._listening_time()
        return all(await asyncio.gather(*(door.end(self._in_time) for door in doors)))

    def _in_time(self) -> bool:
        return time.monotonic() < self._end

    async def _listening_time(self) -> None:
        while (left := self._listen_until - time.monotonic()) > 0:
            hurried, self._hurried = self._hurried, asyncio.Event()
            try:
                await asyncio.wait_for(hurried.wait(), left)
            except TimeoutError:
                return
