"""A server that works on one request after the other, in a time of its own: hours pass in milliseconds."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.bench.loops import ClosedLoop, Loop, OpenLoop, arrivals
from tidegate.bench.record import Record


@dataclass
class Simulation:
    """Each request takes `service` seconds; from `stall[0]` to `stall[1]` nothing is begun."""

    service: float
    stall: tuple[float, float] = (0.0, 0.0)
    now: float = 0.0
    free_from: float = 0.0
    sent: int = 0
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def clock(self) -> float:
        return self.now

    def at(self, when: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), act))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, act = heapq.heappop(self._events)
            act()
        self.now = until

    def done(self) -> float:
        """When a request that comes now is answered."""
        begin = max(self.now, self.free_from)
        if self.stall[0] <= begin < self.stall[1]:
            begin = self.stall[1]
        self.free_from = begin + self.service
        self.sent += 1
        return self.free_from


@dataclass
class Line:
    """A connection to the simulated server."""

    server: Simulation
    loop: Loop | None = None

    def send(self, request: bytes, intended: float) -> None:
        def answered() -> None:
            assert self.loop is not None
            self.loop.answered(intended, 200)
            self.loop.free(self)

        self.server.at(self.server.done(), answered)


def connect(loop: Loop, server: Simulation, connections: int) -> None:
    for _ in range(connections):
        loop.free(Line(server, loop))


def closed(server: Simulation, connections: int, seconds: float) -> Record:
    """What a closed loop of so many connections sees."""
    loop = ClosedLoop([b"r"], Record(), server.clock)
    connect(loop, server, connections)
    server.run(seconds)
    return loop.record


def opened(server: Simulation, rate: float, seconds: float, connections: int = 64) -> Record:
    """What an open loop sees at this rate."""
    loop = OpenLoop([b"r"], Record(), server.clock, arrivals(rate, 0.0, 1))
    connect(loop, server, connections)

    def tick() -> None:
        server.at(loop.send_due(), tick)

    tick()
    server.run(seconds)
    loop.end()
    return loop.record
