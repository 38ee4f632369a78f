"""A server that answers like a Prometheus, or like one that is in trouble; it remembers what it was asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

NOW = 1_767_225_600.5
Reply = tuple[int, Any]  # status, and a document, text, or bytes
Answer = Callable[[Mapping[str, str]], Reply]


def scalar(value: str) -> Reply:
    return 200, {"status": "success", "data": {"resultType": "scalar", "result": [NOW, value]}}


def vector(*values: tuple[Mapping[str, str], str], at: float = NOW) -> Reply:
    result = [{"metric": dict(labels), "value": [at, value]} for labels, value in values]
    return 200, {"status": "success", "data": {"resultType": "vector", "result": result}}


def of_kind(kind: str, result: Any) -> Reply:
    return 200, {"status": "success", "data": {"resultType": kind, "result": result}}


def refusal(status: int, kind: str, text: str) -> Reply:
    return status, {"status": "error", "errorType": kind, "error": text}


@dataclass
class FakePrometheus:
    answer: Answer
    asked: list[dict[str, str]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    silent: bool = False  # takes the request and says nothing
    port: int = 0

    async def handle(self, request: web.BaseRequest) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append(form)
        self.headers.append(dict(request.headers))
        self.paths.append(f"{request.method} {request.path}")
        if self.silent:
            await asyncio.Event().wait()
        status, content = self.answer(form)
        body = content if isinstance(content, bytes) else content.encode() if isinstance(content, str) else None
        more = {"Location": "http://127.0.0.1:1/"} if status in range(300, 400) else {}
        return web.Response(status=status, body=body or orjson.dumps(content), headers=more)


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[FakePrometheus]:
    fake = FakePrometheus(answer)
    runner = web.ServerRunner(web.Server(fake.handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    fake.port = runner.addresses[0][1]
    try:
        yield fake
    finally:
        await runner.cleanup()
