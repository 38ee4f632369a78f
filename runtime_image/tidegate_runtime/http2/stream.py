"""One request and its answer on a connection: both halves of a stream's state, and how much each side may send."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tidegate_runtime.http2.connection import Connection

STREAM_WINDOW: Final = 256 * 1024  # bytes that may come unasked; a longer body is let in when its length is known


class Stream(ABC):
    """What a request means is said by the classes below this one; all is called on the loop, by the connection.

    `over` means that nothing more is read or written: it was answered, or reset by one side.
    """

    __slots__ = ("connection", "credit", "deadline", "end", "granted", "id", "length", "over", "queue", "received",
                 "remote_ended", "stalled_since", "window")  # fmt: skip

    def __init__(self, connection: Connection, number: int, length: int | None) -> None:
        self.connection = connection
        self.id = number
        self.length = length  # of the body, as it was announced
        self.received = 0
        self.window = STREAM_WINDOW  # what the client may still send
        self.granted = 0  # beyond that; see Streams.let_in
        self.credit = connection.out.initial_window  # what we may still send
        self.remote_ended = False
        self.over = False
        self.deadline = math.inf  # time.monotonic: when `overdue` is called
        self.queue: deque[memoryview] | None = None  # what the client's windows have no room for yet
        self.end: bytes | None = None  # trailers to follow what is queued
        self.stalled_since = math.inf

    @property
    def ended(self) -> bool:
        """Whether the answer has its end, which may still wait for the client's windows: it gets no other."""
        return self.over or self.end is not None

    @abstractmethod
    def begin(self) -> None:
        """The head has come, and nothing else yet."""

    @abstractmethod
    def data(self, payload: memoryview) -> None:
        """A piece of the body, in memory that is somebody else's as soon as this returns. May raise StreamFault."""

    @abstractmethod
    def complete(self) -> None:
        """The body has ended; the stream is not over."""

    @abstractmethod
    def lost(self) -> None:
        """The client reset the stream, or is gone; it is over already."""

    @abstractmethod
    def overdue(self) -> None:
        """The deadline has passed."""
