"""How much the server takes on: a bounded number of waiting requests, counted in plain integers for the metrics."""

from __future__ import annotations

from typing import Final

from tidegate_runtime.errors import Throttled

LONGEST_RETRY: Final = 30


class Admission:
    """The gauges, and the one limit that belongs to them. Written on the loop, read from any thread."""

    __slots__ = ("_limit", "connections", "in_flight", "queued", "unread")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.in_flight = 0
        self.queued = 0
        self.connections = 0
        self.unread = 0  # connections, and calls of gRPC, that wait for room in the queue

    @property
    def full(self) -> bool:
        return self.queued >= self._limit

    @property
    def room(self) -> int:
        """How many more may wait."""
        return self._limit - self.queued

    def limit_to(self, most: int) -> None:
        """So many may wait from now on: this process's share, where there are several."""
        self._limit = most

    def refuse(self, seconds_per_run: float) -> Throttled:
        """The answer to a request that finds the queue full, with the time the queue needs to empty."""
        wait = min(LONGEST_RETRY, max(1, round(self.queued * seconds_per_run)))
        return Throttled(f"the queue is full ({self._limit} requests wait)", retry_after=wait)
