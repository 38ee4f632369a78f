"""The gRPC port on our own HTTP/2, in the loop of the rest: all connections, their clock, and how it stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from tidegate_runtime.backpressure import Backpressure
from tidegate_runtime.grpc_services import Services
from tidegate_runtime.grpc_stream import Asked, GrpcStream, asked
from tidegate_runtime.handshakes import Handshakes
from tidegate_runtime.health import Health
from tidegate_runtime.http2.connection import Connection
from tidegate_runtime.http2.heads import Head
from tidegate_runtime.http2.port import Port
from tidegate_runtime.inference import Inferring
from tidegate_runtime.listening import Listener
from tidegate_runtime.protection import Protection
from tidegate_runtime.request import Limits
from tidegate_runtime.routes import Identity
from tidegate_runtime.settings import Settings
from tidegate_runtime.tls import HTTP2, TlsFiles

SWEEP_SECONDS: Final = 0.25
LOOK_SECONDS: Final = 0.02


class NativeServer:
    """Everything happens on the loop it was made on."""

    def __init__(
        self, settings: Settings, port: int, health: Health, protection: Protection, pressure: Backpressure
    ) -> None:
        self._host, self._number = settings.host, port
        self._most = settings.max_connections
        self._services = Services(health, protection)
        self._methods = self._services.methods()
        self._limits = Limits(settings.max_body, settings.header_timeout, settings.body_timeout, settings.idle_timeout)
        self._pressure = pressure  # one line for those who ask over HTTP and over gRPC
        self._connections: set[Connection] = set()
        self._port = Port(self._limits, self._begin, self._opened, self._closed)
        self._handshakes = None if protection.tls is None else self._shaking_hands(protection.tls)
        self._listener = Listener(lambda: Connection(self._port), self._handshakes)
        self._ending = False

    async def start(self) -> int:
        """Listen, and give the port; raises Failed when the port cannot be had."""
        port = await self._listener.start(self._host, self._number)
        self._sweep()
        return port

    def _shaking_hands(self, tls: TlsFiles) -> Handshakes:
        return Handshakes(
            lambda: Connection(self._port), tls, HTTP2, self._limits,
            room=lambda: self._there() < self._most, changed=lambda: None,
        )  # fmt: skip

    def _there(self) -> int:
        """Connections, with those that still shake hands."""
        return len(self._connections) + (len(self._handshakes) if self._handshakes is not None else 0)

    def serve(self, inferring: Inferring, identity: Identity) -> None:
        """The model is ready."""
        self._services.inference.serve(inferring, identity)

    async def end(self, in_time: Callable[[], bool]) -> bool:
        """Take nobody new, tell clients to go elsewhere, answer what they asked before they heard; see drain.py."""
        await self._listener.stop()
        self._ending = True
        for connection in list(self._connections):
            connection.drain()
        self._services.health.end()
        while self._there() and in_time():
            now = time.monotonic()
            for connection in list(self._connections):
                connection.sweep(now)
            await asyncio.sleep(LOOK_SECONDS)
        finished = not self._there()
        if self._handshakes is not None:
            self._handshakes.abort()
        for connection in list(self._connections):
            connection.abort()
        return finished

    def _begin(self, connection: Connection, number: int, head: Head) -> GrpcStream:
        said: Asked | None = head.meaning
        if said is None:
            said = head.meaning = asked(head, self._methods)
        return GrpcStream(connection, number, head, said, self._limits, self._pressure)

    def _opened(self, connection: Connection) -> bool:
        self._connections.add(connection)
        if self._ending:  # it was in line
            asyncio.get_running_loop().call_soon(connection.drain)
        return len(self._connections) <= self._most

    def _closed(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            connection.sweep(now)
        asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
