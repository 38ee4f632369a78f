"""A dashboard on loopback, and pages that read it as a browser does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tidegate.dashboard.board import Board, Key
from tidegate.dashboard.guard import TOKEN
from tidegate.dashboard.publishing import Publisher
from tidegate.dashboard.serving import Acts, Dashboard, Shown

PATIENCE = 10.0
KEY = "the-key"
Event = dict[str, Any]


@dataclass
class World:
    """What there is to show; change `rows` and say so."""

    rows: dict[Key, bytes] = field(default_factory=dict)
    publisher: Publisher = field(init=False)
    session: aiohttp.ClientSession = field(init=False)
    server: Dashboard = field(init=False)
    port: int = 0

    def __post_init__(self) -> None:
        self.publisher = Publisher(Board("ab"), self.rows.get)

    def put(self, name: str, **more: Any) -> None:
        key = ("shop", name)
        self.rows[key] = json.dumps({"namespace": "shop", "name": name, **more}).encode()
        self.publisher.changed(key)

    def drop(self, name: str) -> None:
        del self.rows["shop", name]
        self.publisher.changed(("shop", name))

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def pages_are(self, count: int) -> None:
        """Wait until so many streams are open."""
        while self.publisher.readers != count:  # noqa: ASYNC110 - the story has a deadline
            await asyncio.sleep(0.01)

    async def ask(self, path: str, method: str = "GET", **options: Any) -> tuple[int, Any]:
        headers = {TOKEN: KEY} | options.pop("headers", {})
        async with self.session.request(method, self.root + path, headers=headers, **options) as answer:
            body = await answer.read()
            return answer.status, json.loads(body) if answer.content_type == "application/json" else body.decode()

    @asynccontextmanager
    async def page(self, last: str = "") -> AsyncIterator[Page]:
        headers = {TOKEN: KEY} | ({"Last-Event-ID": last} if last else {})
        async with self.session.get(self.root + "/events", headers=headers) as answer:
            assert answer.status == 200, await answer.read()
            yield Page(answer)


class Page:
    """One stream."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.position = ""
        self.names: dict[str, Event] = {}

    async def event(self) -> tuple[str, Event]:
        """The next event; raises EOFError at the end."""
        lines: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            while line := (await self.answer.content.readline()).decode():
                if line == "\n":
                    self.position = lines.get("id", self.position)
                    return lines["event"], json.loads(lines["data"])
                name, _, value = line.rstrip("\n").partition(": ")
                lines[name] = value
        raise EOFError

    async def changes(self) -> Event:
        """The next changes, taken in."""
        while True:
            name, told = await self.event()
            if name != "changes":
                continue
            if told["reset"]:
                self.names = {}
            for one in told["put"]:
                self.names[one["name"]] = one
            for _, gone in told["gone"]:
                self.names.pop(gone)
            return told


Story = Callable[[World], Awaitable[None]]


def told(
    story: Story, *, acts: Acts | None = None, pages: int = 4, names: tuple[str, ...] = (), token: str = KEY
) -> None:
    """Run a story against a dashboard."""

    async def run() -> None:
        world = World()
        world.server = Dashboard(Shown("here", world.publisher, token, acts, names), pages)
        publishing = asyncio.create_task(world.publisher.run())
        world.port = await world.server.start("127.0.0.1", 0, "--port")
        async with aiohttp.ClientSession(read_bufsize=2**20, connector=aiohttp.TCPConnector(limit=0)) as world.session:
            try:
                async with asyncio.timeout(30):
                    await story(world)
            finally:
                publishing.cancel()
                await world.server.stop()

    asyncio.run(run())
