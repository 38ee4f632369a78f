"""Clients that must not notice that a server ends: new connections, kept ones, idle ones, pipelined bursts.

Each keeps asking until it is refused a connection, which is how a listener that is gone looks.  A request is lost
when it was sent and no whole answer came, unless the server had said `Connection: close` on an answer before it
(then it has to be sent again, RFC 9112 §9.3.2).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.runtime.conftest import DEADLINE, Running, start

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}).encode()
REQUEST = b"POST /v2/models/fraud/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
BURST = 8
PATIENCE = 10.0
BEFORE = 300
EACH = 4
DRAINS = int(os.environ.get("TIDEGATE_DRAINS", "20"))
DELAY = "250ms"


@dataclass
class Tally:
    """What all clients of one drain saw."""

    answered: int = 0
    answered_while_ending: int = 0
    lost: list[str] = field(default_factory=list)
    ending: bool = False
    warm: asyncio.Event = field(default_factory=asyncio.Event)  # enough answers for the signal to come

    def answer(self, refused: str = "") -> None:
        """One more; `refused` says what it was instead of a result."""
        self.answered += 1
        if self.answered == BEFORE:
            self.warm.set()
        self.answered_while_ending += self.ending
        if refused:
            self.lost.append(refused)


Clients = Callable[[Running, Tally], Awaitable[object]]  # ask until the server is gone


async def drain_under_load(server: Running, clients: Clients) -> Tally:
    """Load, SIGTERM in the middle of it, and what the clients saw."""
    tally = Tally()
    asking = asyncio.ensure_future(clients(server, tally))
    await asyncio.wait_for(tally.warm.wait(), DEADLINE)
    tally.ending = True
    server.process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(asking, DEADLINE)
    return tally


def no_request_is_lost(folder: Path, clients: Clients, *flags: str, drains: int = DRAINS) -> None:
    """As often as the environment says, with a new server each time."""
    for drain in range(drains):
        server = start(folder, *flags, "--drain-delay", DELAY)
        try:
            server.wait_ready()
            tally = asyncio.run(drain_under_load(server, clients))
            assert tally.lost == [], f"drain {drain}"
            assert tally.answered_while_ending > 0
            assert server.process.wait(DEADLINE) == 0
        finally:
            server.process.kill()
            server.process.communicate(timeout=DEADLINE)


class Gone(Exception):
    """The server takes no connections any more."""


@dataclass(frozen=True)
class At:
    """Where the server is, and with TLS whom to trust."""

    port: int
    tls: ssl.SSLContext | None


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.last = False

    @classmethod
    async def open(cls, at: At) -> Line:
        opening = asyncio.open_connection("127.0.0.1", at.port, ssl=at.tls)
        try:
            return cls(*await asyncio.wait_for(opening, PATIENCE))
        except ConnectionRefusedError:
            raise Gone from None

    def send(self, count: int = 1) -> None:
        self._writer.write(REQUEST * count)

    async def status(self) -> int:
        """The status of one whole answer; raises when there is none."""
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), PATIENCE)
        length = int(head.split(b"content-length: ")[1].split(b"\r", 1)[0])
        await asyncio.wait_for(self._reader.readexactly(length), PATIENCE)
        self.last = b"connection: close" in head
        return int(head[9:12])

    async def ended_cleanly(self) -> bool:
        return await asyncio.wait_for(self._reader.read(1), PATIENCE) == b""

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def one_per_connection(at: At, tally: Tally) -> None:
    while True:
        line = await Line.open(at)
        await ask(line, "new connection", tally)
        await line.close()


async def kept(at: At, tally: Tally) -> None:
    while True:
        line = await Line.open(at)
        while not line.last and await ask(line, "kept connection", tally):
            pass
        await line.close()


async def pipelined(at: At, tally: Tally) -> None:
    while True:
        line = await Line.open(at)
        while not line.last and await ask(line, "pipelined", tally, BURST):
            pass
        await line.close()


async def idle(at: At, tally: Tally) -> None:
    """One request, then nothing: it must see a clean end."""
    line = await Line.open(at)
    await ask(line, "idle", tally)
    try:
        if not line.last and not await line.ended_cleanly():
            tally.lost.append("idle: something arrived")
    except (OSError, TimeoutError) as error:
        tally.lost.append(f"idle: {error!r}")
    await line.close()


async def ask(line: Line, kind: str, tally: Tally, count: int = 1) -> bool:
    """Send `count` requests at once and read their answers; false when the connection is of no more use."""
    try:
        line.send(count)
        for _ in range(count):
            status = await line.status()
            tally.answer("" if status == 200 else f"{kind}: status {status}")
    except (OSError, EOFError, TimeoutError) as error:
        tally.lost.append(f"{kind}: {error!r}")
        return False
    return True


async def all_clients(server: Running, tally: Tally, tls: ssl.SSLContext | None = None) -> None:
    """Every kind of client a few times, until the server is gone."""
    kinds = (one_per_connection, kept, pipelined, idle)
    clients = [client(At(server.http, tls), tally) for client in kinds for _ in range(EACH)]
    for outcome in await asyncio.gather(*clients, return_exceptions=True):
        if outcome is not None and not isinstance(outcome, Gone):
            tally.lost.append(repr(outcome))
