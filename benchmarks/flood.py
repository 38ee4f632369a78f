"""An open-loop HTTP client: requests are due at a rate, whatever the server does, and each answer counts from then.

There are so many clients, each with one connection; all are connected before the flood begins, and again when the
server has closed theirs.  What is due while all of them wait for an answer is turned away here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

END = b"\r\n\r\n"
LENGTH = b"content-length: "
TICK = 0.001
SETTLING = 30.0


@dataclass(slots=True)
class Flooded:
    """What came of it: seconds from the time a request was due to its answer, by status; 0 is a broken connection."""

    seconds: float = 0.0
    sent: int = 0
    turned_away: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    in_time: Counter[int] = field(default_factory=Counter)  # those of `seconds`, without what came afterwards
    latencies: dict[int, list[float]] = field(default_factory=dict)

    def quantile(self, status: int, q: float) -> float:
        ordered = sorted(self.latencies.get(status, ()))
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0

    def answered(self, status: int, seconds: float) -> None:
        self.answers[status] += 1
        self.latencies.setdefault(status, []).append(seconds)


class _Connection(asyncio.Protocol):
    """One connection: busy with a request that was due at a time, or idle."""

    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        self._buffer = b""
        self.due = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, due: float) -> None:
        assert self.transport is not None
        self.due = due
        self.transport.write(self._flood.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if (end := self._buffer.find(END)) < 0:
            return
        head = self._buffer[: end + 2].lower()
        start = head.index(LENGTH) + len(LENGTH)
        if len(self._buffer) < end + len(END) + int(head[start : head.index(b"\r", start)]):
            return
        status, self._buffer = int(self._buffer[9:12]), b""
        due, self.due = self.due, 0.0
        self._flood.answered(self, status, due, stays=b"connection: close" not in head)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._flood.lost(self)


class Flood:
    """One flood: `connect`, then `run`, once."""

    def __init__(self, port: int, request: bytes, rate: float, connections: int) -> None:
        self.request = request
        self.found = Flooded()
        self._port, self._rate, self._most = port, rate, connections
        self._idle: list[_Connection] = []
        self._open = 0
        self._opening: set[asyncio.Task[None]] = set()
        self._over = False
        self._settled = asyncio.Event()

    async def connect(self) -> None:
        for _ in range(self._most):
            self._open += 1
            self._free(await self._connected())

    async def run(self, seconds: float) -> Flooded:
        """Send for `seconds`, then wait for the answers that are still to come."""
        began, count = time.perf_counter(), 0
        while (now := time.perf_counter() - began) < seconds:
            while count < now * self._rate:
                self._send(began + count / self._rate)
                count += 1
            await asyncio.sleep(TICK)
        self.found.seconds, self.found.in_time = time.perf_counter() - began, self.found.answers.copy()
        self._over = True
        self._look_settled()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), SETTLING)
        for one in self._idle:
            assert one.transport is not None
            one.transport.close()
        return self.found

    def _send(self, due: float) -> None:
        if self._idle:
            self.found.sent += 1
            self._idle.pop().ask(due)
        elif self._open < self._most:
            self._open += 1
            task = asyncio.get_running_loop().create_task(self._connect(due))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            self.found.turned_away += 1

    async def _connect(self, due: float) -> None:
        self.found.sent += 1
        try:
            one = await self._connected()
        except OSError:
            self._open -= 1
            self.found.answered(0, time.perf_counter() - due)
            self._look_settled()
            return
        one.ask(due)

    async def _connected(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, one = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        return one

    def _free(self, one: _Connection) -> None:
        self._idle.append(one)
        self._look_settled()

    def _look_settled(self) -> None:
        if self._over and len(self._idle) == self._open:
            self._settled.set()

    def answered(self, one: _Connection, status: int, due: float, *, stays: bool) -> None:
        """A connection that the server will close is closed here, and another one opened when it is needed."""
        self.found.answered(status, time.perf_counter() - due)
        if stays:
            self._free(one)
        else:
            assert one.transport is not None
            one.transport.close()

    def lost(self, one: _Connection) -> None:
        self._open -= 1
        if one.due:
            self.found.answered(0, time.perf_counter() - one.due)
        elif one in self._idle:
            self._idle.remove(one)
        self._look_settled()
