"""A Lease that fails in every way there is, for electors in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.unit.cluster.virtual_time import now

from tidegate.cluster.errors import AlreadyExists, ApiDown, Conflict, NotFound
from tidegate.cluster.lease import Elector, Held

Spec = Mapping[str, Any]
Trouble = Callable[[str], Awaitable[None]]


@dataclass
class Store:
    """A Lease with compare-and-swap, and the ways in which a server can fail."""

    held: Held | None = None
    trouble: Trouble | None = None  # called before each request
    deaf: bool = False  # writes take effect, and their answers never come
    writes: list[tuple[float, str]] = field(default_factory=list)
    requests: int = 0
    version: int = 7  # of the whole server: never the same twice

    async def read(self) -> Held | None:
        await self._asked("read")
        return self.held

    async def create(self, spec: Spec) -> Held:
        await self._asked("create")
        if self.held:
            raise AlreadyExists("there is one")
        return await self._keep(spec)

    async def replace(self, spec: Spec, version: str) -> Held:
        await self._asked("replace")
        if self.held is None:
            raise NotFound("there is none")
        if self.held.version != version:
            raise Conflict("it has changed")
        return await self._keep(spec)

    def write(self, holder: str, seconds: int = 15) -> None:
        """Somebody else's write."""
        self._set({"holderIdentity": holder, "leaseDurationSeconds": seconds})

    async def _asked(self, what: str) -> None:
        self.requests += 1
        if self.trouble:
            await self.trouble(what)

    def _set(self, spec: Spec) -> Held:
        self.version += 1
        self.held = Held(str(self.version), dict(spec))
        return self.held

    async def _keep(self, spec: Spec) -> Held:
        held = self._set(spec)
        self.writes.append((now(), held.holder))
        if self.deaf:
            await hang("")
        return held


async def hang(_: str) -> None:
    await asyncio.sleep(1_000_000)


async def fail(_: str) -> None:
    raise ApiDown("the API server is down")


async def stubborn(_: str) -> None:
    """Hangs, and cannot even be cancelled."""
    end = now() + 100
    while now() < end:
        try:
            await asyncio.sleep(end - now())
        except asyncio.CancelledError:
            continue


def elector(store: Store, name: str = "me", **options: Any) -> Elector:
    return Elector(store, name, clock=options.pop("clock", now), **options)


async def leading(store: Store, name: str = "me") -> Elector:
    found = elector(store, name)
    await found.acquire()
    return found


async def lost_after(one: Elector) -> float:
    began = now()
    async with asyncio.timeout(3600):
        await one.lost.wait()
    return now() - began
