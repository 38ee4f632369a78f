"""The listening socket and all connections of the model's port: the cap, the clock, and how it stops without a loss."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Callable
from typing import Final

from tidegate_runtime.admission import Admission
from tidegate_runtime.backpressure import Backpressure
from tidegate_runtime.clients import OPEN, Doorkeeper
from tidegate_runtime.engine import Engine
from tidegate_runtime.errors import RequestError
from tidegate_runtime.handshakes import Handshakes
from tidegate_runtime.http import Connection
from tidegate_runtime.listening import Listener
from tidegate_runtime.oip import not_ready
from tidegate_runtime.protection import Protection
from tidegate_runtime.request import Front, Limits, Request
from tidegate_runtime.routes import Identity, Route, Routes, find
from tidegate_runtime.settings import Settings
from tidegate_runtime.siblings.spreader import Spreader
from tidegate_runtime.tls import HTTP, TlsFiles

SWEEP_SECONDS: Final = 0.25
LOOK_SECONDS: Final = 0.02
QUIET_SECONDS: Final = 1.0  # while the server stops: how long a client may take to ask its first or next request


class Server:
    """The model's port. Everything happens on the loop it was started on."""

    def __init__(self, settings: Settings, admission: Admission, base: Routes) -> None:
        self.changed: Callable[[], None] = _nothing  # called when a connection has come or gone
        self._settings = settings
        self._admission = admission
        self._routes = base
        self._identity: Identity | None = None
        self._engine: Engine | None = None
        self._connections: set[Connection] = set()
        limits = Limits(settings.max_body, settings.header_timeout, settings.body_timeout, settings.idle_timeout)
        pressure = Backpressure(admission, settings.queue_timeout)
        self.front = Front(limits, self._route, self._opened, self._closed, pressure)
        self._listener: Listener | None = None
        self._spreader: Spreader | None = None
        self._handshakes: Handshakes | None = None  # of TLS
        self._doorkeeper: Doorkeeper | None = None

    async def start(self, protection: Protection) -> int:
        """Listen, and give the port; raises Failed when the port cannot be had."""
        self.guard(protection)
        assert self._listener is not None
        port = await self._listener.start(self._settings.host, self._settings.http_port)
        self.keep_time()
        return port

    def guard(self, protection: Protection) -> None:
        """Before the first connection: who may come in, and how it is told."""
        self._doorkeeper, self.front.log = protection.doorkeeper, protection.log
        if protection.tls is not None:
            self._handshakes = self._shaking_hands(protection.tls)
        self._listener = Listener(lambda: Connection(self.front), self._handshakes, self._count)

    def share(self, spreader: Spreader) -> None:
        """From now on other processes get connections, too."""
        assert self._listener is not None
        self._spreader = spreader
        self._listener.share(spreader)

    def take(self, client: socket.socket) -> None:
        """Serve a connection that another process has accepted."""
        assert self._listener is not None
        self._listener.take(client)

    @property
    def connections(self) -> int:
        """Open ones, and those that are about to be."""
        return self._open_connections() + (len(self._listener) if self._listener is not None else 0)

    def _shaking_hands(self, tls: TlsFiles) -> Handshakes:
        return Handshakes(
            lambda: Connection(self.front), tls, HTTP, self.front.limits,
            room=lambda: self._open_connections() + self._elsewhere < self._settings.max_connections,
            changed=self._count,
        )  # fmt: skip

    def serve(self, routes: Routes, identity: Identity, engine: Engine) -> None:
        """The model is ready: its paths exist from now on."""
        self._routes = {**self._routes, **routes}
        self._identity = identity
        self._engine = engine

    async def end(self, in_time: Callable[[], bool]) -> bool:
        """Take nobody new, answer what is asked, cut off the rest when there is no more time; see drain.py."""
        if self._listener is not None:
            await self._listener.stop()
        while self._open_connections() and in_time():
            self._close_idle(time.monotonic())
            await asyncio.sleep(LOOK_SECONDS)
        finished = not self._open_connections()
        if self._handshakes is not None:
            self._handshakes.abort()
        for connection in list(self._connections):
            connection.abort()
        return finished

    def _close_idle(self, now: float) -> None:
        """Close connections on which nothing is asked.

        Clients that have just connected, or were answered before the answers said `Connection: close`, may be about
        to ask: they get a moment.
        """
        for connection in list(self._connections):
            quiet = connection.idle and now - connection.idle_since >= QUIET_SECONDS
            if quiet and not _has_bytes(connection):
                connection.close()

    def _route(self, request: Request) -> Route:
        if self._doorkeeper is not None:
            return self._guarded(self._doorkeeper, request)
        request.route = route = self._find(request.url)
        return route

    def _guarded(self, doorkeeper: Doorkeeper, request: Request) -> Route:
        """The route, for whoever may take it; a stranger is not told what else is served here."""
        authorization = request.headers.get(b"authorization", b"").decode("latin-1")
        try:
            request.route = route = self._find(request.url)
        except RequestError:
            request.client = doorkeeper.client(authorization).name
            raise
        if route.scope != OPEN:
            client = doorkeeper.client(authorization)
            request.client = client.name
            doorkeeper.require(client, route.scope)
        return route

    def _find(self, path: bytes) -> Route:
        if self._identity is not None:
            return find(self._routes, path, self._identity)
        route = self._routes.get(path)
        if route is None:
            raise not_ready()
        return route

    def _opened(self, connection: Connection) -> bool:
        self._connections.add(connection)
        self._count()
        return len(self._connections) + self._elsewhere <= self._settings.max_connections

    def _closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._count()

    def _open_connections(self) -> int:
        return len(self._connections) + (len(self._handshakes) if self._handshakes is not None else 0)

    def _count(self) -> None:
        self._admission.connections = self._open_connections()
        self.changed()

    @property
    def _elsewhere(self) -> int:
        return self._spreader.elsewhere if self._spreader is not None else 0

    def keep_time(self) -> None:
        """Look at what is late, a few times a second, from now on."""
        now = time.monotonic()
        for connection in list(self._connections):
            connection.sweep(now)
        if self._engine is not None:
            self._engine.sweep(now)
        asyncio.get_running_loop().call_later(SWEEP_SECONDS, self.keep_time)


def _nothing() -> None:
    """Nobody wants to know."""


def _has_bytes(connection: Connection) -> bool:
    """Whether a request is on its way that the loop has not seen yet."""
    poll = select.poll()
    try:
        poll.register(connection.socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False
