"""Clients that must not notice that a server ends: new connections, kept ones, idle ones, pipelined bursts.

Each keeps asking until it is refused a connection, which is how a listener that is gone looks.  A request is lost
when it was sent and no whole answer came, unless the server had said `Connection: close` on an answer before it
(then it has to be sent again, RFC 9112 §9.3.2).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}).encode()
REQUEST = b"POST /v2/models/fraud/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
BURST = 8
PATIENCE = 10.0
BEFORE = 300


@dataclass
class Tally:
    """What all clients of one drain saw."""

    answered: int = 0
    answered_while_ending: int = 0
    lost: list[str] = field(default_factory=list)
    ending: bool = False
    warm: asyncio.Event = field(default_factory=asyncio.Event)  # enough answers for the signal to come

    def answer(self, kind: str, status: int) -> None:
        self.answered += 1
        if self.answered == BEFORE:
            self.warm.set()
        self.answered_while_ending += self.ending
        if status != 200:
            self.lost.append(f"{kind}: status {status}")


class Gone(Exception):
    """The server takes no connections any more."""


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.last = False

    @classmethod
    async def open(cls, port: int) -> Line:
        try:
            return cls(*await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), PATIENCE))
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


async def one_per_connection(port: int, tally: Tally) -> None:
    while True:
        line = await Line.open(port)
        await ask(line, "new connection", tally)
        await line.close()


async def kept(port: int, tally: Tally) -> None:
    while True:
        line = await Line.open(port)
        while not line.last and await ask(line, "kept connection", tally):
            pass
        await line.close()


async def pipelined(port: int, tally: Tally) -> None:
    while True:
        line = await Line.open(port)
        while not line.last and await ask(line, "pipelined", tally, BURST):
            pass
        await line.close()


async def idle(port: int, tally: Tally) -> None:
    """One request, then nothing: it must see a clean end."""
    line = await Line.open(port)
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
            tally.answer(kind, await line.status())
    except (OSError, EOFError, TimeoutError) as error:
        tally.lost.append(f"{kind}: {error!r}")
        return False
    return True


async def all_clients(port: int, tally: Tally, each: int) -> None:
    """Every kind of client `each` times, until the server is gone."""
    clients = [client(port, tally) for client in (one_per_connection, kept, pipelined, idle) for _ in range(each)]
    for outcome in await asyncio.gather(*clients, return_exceptions=True):
        if outcome is not None and not isinstance(outcome, Gone):
            tally.lost.append(repr(outcome))
