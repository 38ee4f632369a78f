"""An HTTP server on loopback that answers as it is told and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from tidegate.cluster.connection import Connection
from tidegate.cluster.login import Login


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass
class Wire:
    """`answers` are given one after another, the last one for ever: (status, document) or (status, document, headers)."""

    answers: list[tuple[Any, ...]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def last(self) -> Asked:
        return self.asked[-1]

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        content = await request.read()
        body = json.loads(content) if content else None
        self.asked.append(Asked(request.method, request.path, dict(request.query), dict(request.headers), body))
        if self.handle:
            return await self.handle(request)
        status, document, *headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status is None:
            await asyncio.sleep(document)
            status, document = 200, {}
        text = document if isinstance(document, str) else json.dumps(document)
        return web.Response(
            status=status, text=text, content_type="application/json", headers=headers[0] if headers else {}
        )


@asynccontextmanager
async def serving(*answers: tuple[Any, ...]) -> AsyncIterator[Wire]:
    wire = Wire(list(answers))
    server = web.Server(wire.answer)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    wire.port = runner.addresses[0][1]
    try:
        yield wire
    finally:
        await runner.cleanup()


def login_to(wire: Wire, token: str = "") -> Login:
    configuration = Configuration(host=wire.url)
    if token:
        configuration.api_key["BearerToken"] = f"Bearer {token}"
    return Login(configuration)


@asynccontextmanager
async def connected(wire: Wire, **options: Any) -> AsyncIterator[Connection]:
    connection = Connection(login_to(wire, options.pop("token", "")).client(8), **options)
    try:
        yield connection
    finally:
        await connection.close()


def status(code: int, reason: str = "", message: str = "", **details: Any) -> tuple[int, dict[str, Any]]:
    """An answer with a Status document."""
    document = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return code, {**document, "message": message, "details": details}
