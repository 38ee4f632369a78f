"""The small HTTP of the metrics port: one request at a time per connection, everything limited, nothing streamed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httptools
import orjson

MAX_HEAD = 16 * 2**10
MAX_CONNECTIONS = 128
REQUEST_SECONDS = 10.0  # for a whole request to arrive
IDLE_SECONDS = 120.0  # above Prometheus' scrape intervals
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


@dataclass(slots=True)
class Request:
    """One request that has arrived completely; header names are lower case."""

    method: str = ""
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; `allow` is the Allow header of a 405."""

    status: int
    body: bytes = b""
    content_type: str = TEXT
    allow: str = ""


def text(status: int, message: str) -> Reply:
    """A plain sentence."""
    return Reply(status, message.encode() + b"\n")


def document(value: Any, status: int = 200) -> Reply:
    """A JSON document."""
    return Reply(status, orjson.dumps(value), JSON)


class TooMuch(Exception):
    """The request is larger than its path allows."""


Respond = Callable[[Request], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Rules:
    """Who answers, how much a path takes, and who is connected."""

    respond: Respond
    limit: Callable[[str], int]  # the largest body that a path takes
    connections: set[asyncio.Transport] = field(default_factory=set)


class Connection(asyncio.Protocol):
    """One connection. It reads no further request while one is being answered."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._begin_request()

    def _begin_request(self) -> None:
        self._parser: Any = httptools.HttpRequestParser(self)
        self._request = Request()
        self._head = 0
        self._body: list[bytes] = []
        self._size = 0

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._rules.connections.add(transport)
        if len(self._rules.connections) > MAX_CONNECTIONS:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
        else:
            self._expect_within(REQUEST_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio gives it
        self._rules.connections.discard(self._transport)
        if self._timer:
            self._timer.cancel()
        if self._task:
            self._task.cancel()

    def data_received(self, content: bytes) -> None:
        if not self._head:
            self._expect_within(REQUEST_SECONDS)
        try:
            self._parser.feed_data(content)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, TooMuch):
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is larger than this path allows")
            else:
                self._refuse(HTTPStatus.BAD_REQUEST, "not an HTTP request, or a second one before the first's answer")

    def pause_writing(self) -> None:
        self._transport.pause_reading()  # who does not read its answers asks no more of them

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    # httptools

    def on_message_begin(self) -> None:
        if self._task:
            raise ValueError("a second request before the answer to the first")

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        self._request.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        self._request.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._request.method = self._parser.get_method().decode("latin-1")
        self._request.path = self._request.path.partition("?")[0]
        if "100-continue" in self._request.headers.get("expect", ""):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._rules.limit(self._request.path):
            raise TooMuch
        self._body.append(part)

    def on_message_complete(self) -> None:
        self._request.body = b"".join(self._body)
        self._expect_within(IDLE_SECONDS)
        self._task = self._loop.create_task(self._answer(self._request, self._parser.should_keep_alive()))

    def _count_head(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD:
            raise TooMuch

    # answers

    async def _answer(self, request: Request, keep: bool) -> None:
        reply = await self._rules.respond(request)
        self._task = None
        self._write(reply, keep=keep)
        if keep:
            self._begin_request()

    def _write(self, reply: Reply, *, keep: bool) -> None:
        head = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
        if reply.status != HTTPStatus.NO_CONTENT:
            head += [f"Content-Type: {reply.content_type}", f"Content-Length: {len(reply.body)}"]
        if reply.allow:
            head.append(f"Allow: {reply.allow}")
        if not keep:
            head.append("Connection: close")
        self._transport.write("\r\n".join([*head, "\r\n"]).encode("latin-1") + reply.body)
        if not keep:
            self._transport.close()

    def _refuse(self, status: int, message: str) -> None:
        if not self._transport.is_closing():
            self._write(text(status, message), keep=False)

    def _expect_within(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._transport.abort)
