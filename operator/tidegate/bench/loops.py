"""When requests are sent: in a closed loop by whoever has its answer, in an open loop when their time has come.

A closed loop waits for a server that stalls, and so asks it less while it is slow: it measures how much can be done,
not what users would feel.  In an open loop requests come at their own times, as users do; each latency counts from the
moment when the request was meant to be sent, also where it had to wait for a free connection (coordinated omission).
Nothing here knows sockets or the time of day.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from tidegate.bench.record import Record

Clock = Callable[[], float]


class Sender(Protocol):
    """A connection that carries one request at a time."""

    def send(self, request: bytes, intended: float) -> None: ...


class Loop(Protocol):
    """Decides what is sent next; its connections tell it of each answer and whenever they are free."""

    record: Record

    def free(self, connection: Sender) -> None: ...

    def answered(self, intended: float, status: int) -> None: ...

    def lost(self, connection: Sender) -> None: ...

    def end(self) -> None: ...


class ClosedLoop:
    """Every connection sends again as soon as it has its answer."""

    def __init__(self, requests: Sequence[bytes], record: Record, clock: Clock) -> None:
        self.record = record
        self._requests = itertools.cycle(requests)
        self._clock = clock
        self._going = True

    def free(self, connection: Sender) -> None:
        if self._going:
            connection.send(next(self._requests), self._clock())

    def answered(self, intended: float, status: int) -> None:
        self.record.answered(intended, self._clock(), status)

    def lost(self, connection: Sender) -> None:
        """It asks no more."""

    def end(self) -> None:
        """Send nothing more."""
        self._going = False


class OpenLoop:
    """Requests at the times of `arrivals`, over connections that are free; the others wait in their order."""

    def __init__(self, requests: Sequence[bytes], record: Record, clock: Clock, arrivals: Iterator[float]) -> None:
        self.record = record
        self._requests = itertools.cycle(requests)
        self._clock = clock
        self._arrivals = arrivals
        self._following = next(arrivals)
        self._waiting: deque[float] = deque()
        self._idle: list[Sender] = []
        self._going = True

    def send_due(self) -> float:
        """Send what is due by now; when the next request is."""
        now = self._clock()
        while self._following <= now:
            intended, self._following = self._following, next(self._arrivals)
            if self._idle:
                self.record.sent(intended, now)
                self._idle.pop().send(next(self._requests), intended)
            else:
                self._waiting.append(intended)
        return self._following

    def free(self, connection: Sender) -> None:
        if self._waiting and self._going:
            connection.send(next(self._requests), self._waiting.popleft())
        else:
            self._idle.append(connection)

    def answered(self, intended: float, status: int) -> None:
        self.record.answered(intended, self._clock(), status)

    def lost(self, connection: Sender) -> None:
        """An idle connection is one no more."""
        if connection in self._idle:
            self._idle.remove(connection)

    def end(self) -> None:
        """Send nothing more; those that still wait have waited until now."""
        self._going = False
        now = self._clock()
        for intended in self._waiting:
            self.record.unsent(intended, now)
        self._waiting.clear()


def arrivals(rate: float, start: float, seed: int) -> Iterator[float]:
    """Times at which `rate` requests a second come, each for itself (Poisson): the same ones for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - nothing to guess
    at = start
    while True:
        at += chance.expovariate(rate)
        yield at
