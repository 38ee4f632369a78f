"""How a server ends without losing a request.

1. readiness fails, and every answer says `Connection: close`;
2. for the delay it goes on accepting and serving, until everybody has stopped sending new requests;
3. the line of waiting connections is let in, then the listener is closed;
4. idle connections are closed, the rest finished; at the end of the drain time what is left is cut off.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tidegate_runtime.health import Health, Phase
from tidegate_runtime.server import Server

LOOK_SECONDS: Final = 0.02
# The runner that started this server is gone: nothing may be left of it five seconds later.
HURRIED_DELAY: Final = 0.5
HURRIED_DRAIN: Final = 3.0


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

    async def carry_out(self, server: Server) -> bool:
        """Steps 2 to 4; whether everything was answered in time."""
        server.front.closing = True
        await self._listening_time()
        await server.stop_listening()
        while server.connections and time.monotonic() < self._end:
            server.close_idle(time.monotonic())
            await asyncio.sleep(LOOK_SECONDS)
        finished = server.connections == 0
        server.abort_all()
        return finished

    async def _listening_time(self) -> None:
        while (left := self._listen_until - time.monotonic()) > 0:
            hurried, self._hurried = self._hurried, asyncio.Event()
            try:
                await asyncio.wait_for(hurried.wait(), left)
            except TimeoutError:
                return
