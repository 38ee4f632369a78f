"""An open-loop HTTP client: requests are due at a rate, whatever the server does, and each answer counts from then.

A request takes an idle connection, or a new one, up to a number of them; beyond that it waits here, and its wait
counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
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
    late: int = 0  # were due and never sent: the connections were all taken
    answers: Counter[int] = field(default_factory=Counter)
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
    """One flood; `run` once."""

    def __init__(self, port: int, request: bytes, rate: float, connections: int) -> None:
        self.request = request
        self.found = Flooded()
        self._port, self._rate, self._most = port, rate, connections
        self._idle: list[_Connection] = []
        self._open = 0
        self._waiting: deque[float] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._over = False
        self._settled = asyncio.Event()

    async def run(self, seconds: float) -> Flooded:
        """Send for `seconds`, then wait for the answers that are still to come."""
        began, count = time.perf_counter(), 0
        while (now := time.perf_counter() - began) < seconds:
            while count < now * self._rate:
                self._waiting.append(began + count / self._rate)
                count += 1
            self._send()
            await asyncio.sleep(TICK)
        self.found.seconds, self.found.late = time.perf_counter() - began, len(self._waiting)
        self._waiting.clear()
        self._over = True
        self._look_settled()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), SETTLING)
        for one in self._idle:
            assert one.transport is not None
            one.transport.close()
        return self.found

    def _send(self) -> None:
        while self._waiting and self._idle:
            self.found.sent += 1
            self._idle.pop().ask(self._waiting.popleft())
        for _ in range(min(len(self._waiting) - len(self._opening), self._most - self._open)):
            self._open += 1
            task = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        try:
            _, one = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self), "127.0.0.1", self._port
            )
        except OSError:
            self._open -= 1
            self._look_settled()
            return
        self._free(one)

    def _free(self, one: _Connection) -> None:
        self._idle.append(one)
        self._send()
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
        self._send()
        self._look_settled()
