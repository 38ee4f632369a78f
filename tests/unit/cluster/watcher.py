"""The product's watches under way against a server on loopback, and what they have shown."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.unit.cluster.watched import Cluster, cluster
from tests.unit.cluster.wire import login_to

from tidegate.cluster import watch
from tidegate.cluster.api import Key
from tidegate.cluster.login import Login
from tidegate.cluster.seen import Cache
from tidegate.cluster.watch import KINDS, Watches

FRAUD = ("ns", "fraud")
PATIENCE = 20.0


class Watcher:
    """Watches under way, and what they show."""

    def __init__(self, served: Cluster, login: Login, namespaces: tuple[str, ...] = ()) -> None:
        self.cluster = served
        self.cache = Cache()
        self.woken: list[Key] = []
        self.counted: Counter[tuple[str, str]] = Counter()
        self.stop = asyncio.Event()
        self.watches = Watches(login, self.cache, self.woken.append, namespaces, self._count)
        self.task = asyncio.create_task(self.watches.run(self.stop))

    def _count(self, verb: str, code: str, seconds: float) -> None:
        self.counted[verb, code] += 1

    async def until(self, holds: Callable[[], Any], what: str) -> None:
        """Wait for something; at once when the watches have ended."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                if self.task.done():
                    await self.task
                    raise AssertionError(f"the watches ended before {what}")
                await asyncio.sleep(0.005)

    async def filled(self) -> None:
        await self.until(self.watches.filled.is_set, "everything was listed")
        await self.until(lambda: self.cluster.watched >= set(KINDS), "everything is watched")

    async def end(self) -> None:
        self.stop.set()
        async with asyncio.timeout(PATIENCE):
            await self.task


def watched(
    story: Callable[[Watcher], Awaitable[None]],
    prepare: Callable[[Cluster], Any] = lambda served: None,
    namespaces: tuple[str, ...] = (),
) -> Watcher:
    """A story with watches that run, and the watcher afterwards."""

    async def main() -> Watcher:
        async with cluster() as (served, wire):
            prepare(served)
            watcher = Watcher(served, login_to(wire, "t0ken"), namespaces)
            try:
                await story(watcher)
                if not watcher.task.done():
                    await watcher.end()
            finally:
                watcher.task.cancel()
                await asyncio.gather(watcher.task, return_exceptions=True)
            return watcher

    return asyncio.run(main())


def pause_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of patience become hundredths."""
    monkeypatch.setattr(watch, "PAUSES", (0.01, 0.02))
    monkeypatch.setattr(watch, "LAST_PAUSE", 0.05)
    monkeypatch.setattr(watch, "LOGIN_PAUSES", (0, 0.01))
    monkeypatch.setattr(watch, "RELIST_PAUSE", 0.01)
