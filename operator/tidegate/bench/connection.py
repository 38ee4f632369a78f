"""Connections of the load generator: prepared bytes out, one call back per answer.

Parsed in C with nothing but the end of an answer called back, so that one core of it can load several of a server
(some 8 µs a request in the closed loop).  A connection that is lost is made again; what was under way on it has failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import cast

import httptools

from tidegate.bench.loops import Loop
from tidegate.bench.record import CUT_OFF
from tidegate.client import NotConnected

AGAIN_SECONDS = 0.1  # between two tries to connect
LOOK_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, one request at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._busy = False
        self._intended = 0.0
        self._transport: asyncio.Transport | None = None

    @property
    def busy(self) -> bool:
        return self._busy

    def send(self, request: bytes, intended: float) -> None:
        assert self._transport is not None
        self._busy, self._intended = True, intended
        self._transport.write(request)

    def close(self) -> None:
        """End it; a request under way has failed."""
        if self._busy:
            self._busy = False
            self._pool.loop.answered(self._intended, CUT_OFF)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()

    def on_message_complete(self) -> None:
        """httptools: the answer has ended."""
        self._busy = False
        self._pool.loop.answered(self._intended, self._parser.get_status_code())
        if self._parser.should_keep_alive():
            self._pool.loop.free(self)
        else:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.close()
        self._pool.lost(self)


class Pool:
    """The connections that a loop sends over."""

    loop: Loop  # from `begin` on: nothing is sent before

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._made: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun = False

    async def open(self, size: int) -> None:
        """Make so many connections; raises NotConnected."""
        try:
            self._made.update(await asyncio.gather(*(self._connect() for _ in range(size))))
        except OSError as error:
            raise NotConnected(f"no connection: {error.strerror or error}", where=str(self._endpoint)) from None

    def begin(self, loop: Loop) -> None:
        """Let the loop have the connections."""
        self.loop, self._begun = loop, True
        for connection in tuple(self._made):
            loop.free(connection)

    async def settle(self, seconds: float) -> None:
        """Wait for the answers under way, so long at most; then all connections are closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # Looked for: an event for each answer would slow the load generator down.
                while any(connection.busy for connection in self._made):  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_SECONDS)
        self.close()

    def close(self) -> None:
        self._begun = False
        for task in self._tasks:
            task.cancel()
        for connection in tuple(self._made):
            connection.close()

    def lost(self, connection: Connection) -> None:
        """Called by a connection at its end."""
        self._made.discard(connection)
        if self._begun:
            self.loop.lost(connection)
            task = asyncio.ensure_future(self._replace())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _replace(self) -> None:
        while True:
            try:
                connection = await self._connect()
            except OSError:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            self._made.add(connection)
            self.loop.free(connection)
            return

    async def _connect(self) -> Connection:
        to = self._endpoint
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self), to.host, to.port, ssl=to.tls
        )
        return connection
