"""The listening socket and all connections of the model's port: the cap, the clock, and how it stops without a loss."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Final

from tidegate_runtime.admission import Admission
from tidegate_runtime.clients import OPEN, Doorkeeper
from tidegate_runtime.engine import Engine
from tidegate_runtime.errors import RequestError
from tidegate_runtime.handshakes import Handshakes
from tidegate_runtime.http import Connection
from tidegate_runtime.listening import cannot_listen
from tidegate_runtime.oip import not_ready
from tidegate_runtime.protection import Protection
from tidegate_runtime.request import Front, Limits, Request
from tidegate_runtime.routes import Identity, Route, Routes, find
from tidegate_runtime.settings import Settings
from tidegate_runtime.siblings.accepting import Accepting, Spreader
from tidegate_runtime.tls import HTTP, TlsFiles

BACKLOG: Final = 1024
SWEEP_SECONDS: Final = 0.25
LOOK_SECONDS: Final = 0.02
QUIET_SECONDS: Final = 1.0  # while the server stops: how long a client may take to ask its first or next request
HANDSHAKE_SECONDS: Final = 0.05  # for connections that were being made when the door was shut
SO_ATTACH_FILTER: Final = 26
# Asked after a minute of silence, then three times, 20 s apart.
KEEPALIVE: Final = (
    ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 3)) if sys.platform == "linux" else ()
)
# Classic BPF on a listening socket: the byte of TCP flags; SYN without ACK is dropped, everything else passes.
NO_NEW_CONNECTIONS: Final = (
    (0x30, 0, 0, 13),  # load the byte at offset 13
    (0x54, 0, 0, 0x12),  # keep the flags SYN and ACK
    (0x15, 0, 1, 0x02),  # is it SYN alone?
    (0x06, 0, 0, 0),  # yes: drop
    (0x06, 0, 0, 0xFFFFFFFF),  # no: keep
)


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
        self.front = Front(limits, self._route, self._opened, self._closed)
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Server | Handshakes | Accepting | None = None
        self._spreader: Spreader | None = None
        self._coming: set[asyncio.Task[object]] = set()
        self._handshakes: Handshakes | None = None  # of TLS
        self._doorkeeper: Doorkeeper | None = None

    async def start(self, protection: Protection) -> int:
        """Listen, and give the port; raises Failed when the port cannot be had."""
        self.guard(protection)
        self._listening = bind(self._settings.host, self._settings.http_port)
        # A copy for the loop: closing it must not close the queue of connections that nobody has accepted yet.
        copy = self._listening.dup()
        if self._handshakes is None:
            loop = asyncio.get_running_loop()
            self._accepting = await loop.create_server(lambda: Connection(self.front), sock=copy, backlog=BACKLOG)
        else:
            self._accepting = self._handshakes
            self._handshakes.listen(copy)
        self.keep_time()
        return int(self._listening.getsockname()[1])

    def guard(self, protection: Protection) -> None:
        """Before the first connection: who may come in, and how it is told."""
        self._doorkeeper, self.front.log = protection.doorkeeper, protection.log
        if protection.tls is not None:
            self._handshakes = self._shaking_hands(protection.tls)

    def share(self, spreader: Spreader) -> None:
        """From now on other processes get connections, too."""
        assert self._listening is not None
        assert self._accepting is not None
        self._accepting.close()  # the loop's copy: nobody in line is lost
        self._spreader = spreader
        self._accepting = Accepting(self._listening, self, spreader)

    def take(self, client: socket.socket) -> None:
        """Serve a connection that was accepted."""
        if self._handshakes is not None:
            self._handshakes.begin(client)
            return
        task = asyncio.ensure_future(self._connect(client))
        self._coming.add(task)
        task.add_done_callback(self._has_come)

    def _has_come(self, task: asyncio.Task[object]) -> None:
        self._coming.discard(task)
        if not task.cancelled():
            task.exception()  # its client is gone already: it never became a connection
        self._count()

    @property
    def connections(self) -> int:
        """Open ones, and those that are about to be."""
        return self._open_connections() + len(self._coming)

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
        await self._stop_listening()
        await asyncio.gather(*self._coming, return_exceptions=True)
        while self._open_connections() and in_time():
            self._close_idle(time.monotonic())
            await asyncio.sleep(LOOK_SECONDS)
        finished = not self._open_connections()
        if self._handshakes is not None:
            self._handshakes.abort()
        for connection in list(self._connections):
            connection.abort()
        return finished

    async def _stop_listening(self) -> None:
        """Shut the door behind everybody who is already in line.

        Closing a listener resets the connections that wait in its queue, and more arrive while it is emptied: so
        first new ones are kept out (they are refused as soon as it is closed), then the line is let in.
        """
        if self._listening is None or self._accepting is None:
            return
        self._accepting.close()
        keep_out(self._listening)
        await self._let_in(self._listening)
        await asyncio.sleep(HANDSHAKE_SECONDS)
        await self._let_in(self._listening)
        self._listening.close()
        self._listening = None

    async def _let_in(self, listening: socket.socket) -> None:
        listening.setblocking(False)
        while True:
            try:
                client, _ = listening.accept()
            except (BlockingIOError, OSError):
                return
            if self._handshakes is not None:
                self._handshakes.begin(client)
            else:
                await self._connect(client)

    async def _connect(self, client: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: Connection(self.front), client)

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


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; raises Failed when the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        notice_the_dead(listening)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise cannot_listen(error, host, port, "--host") from None
    return listening


def notice_the_dead(listening: socket.socket) -> None:
    """Connections whose other end is gone without a word are closed after two minutes, not after the idle timeout.

    Every accepted socket inherits it from `listening`.
    """
    if sys.platform == "linux":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            listening.setsockopt(socket.IPPROTO_TCP, option, value)


def keep_out(listening: socket.socket) -> None:
    """Drop new handshakes on `listening`, and nothing else; where the system cannot, a few may still slip in."""
    if sys.platform != "linux":
        return
    program = b"".join(struct.pack("HBBI", *step) for step in NO_NEW_CONNECTIONS)
    held = ctypes.create_string_buffer(program)
    with contextlib.suppress(OSError):
        filled = struct.pack("HP", len(NO_NEW_CONNECTIONS), ctypes.addressof(held))
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filled)


def _has_bytes(connection: Connection) -> bool:
    """Whether a request is on its way that the loop has not seen yet."""
    poll = select.poll()
    try:
        poll.register(connection.socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False
