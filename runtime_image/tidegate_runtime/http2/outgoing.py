"""What is written to one peer, within its windows: answers whose bytes it does not want yet wait here.

An answer that fits, and nearly every one does, is one write of three frames.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from tidegate_runtime.http2.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADER,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_FRAME,
    LARGEST_WINDOW,
    MAX_FRAME_SIZE,
    Code,
    ConnectionFault,
    StreamFault,
)
from tidegate_runtime.http2.stream import Stream

LAST: Final = END_STREAM | END_HEADERS
DEFAULT_TABLE: Final = 4096  # bytes
NO_TABLE: Final = b"\x20"  # a block of headers that begins so says that we keep no table
LARGEST_PIECE: Final = 1 << 20  # of DATA, where the peer takes larger frames


class Outgoing:
    """The sending half of a connection. `write` takes bytes for the transport, `ended` a stream that is all written."""

    __slots__ = ("_ended", "_frame", "_prelude", "_stalled", "_table", "_window", "initial_window", "write")

    def __init__(self, write: Callable[[bytes], None], ended: Callable[[Stream], None]) -> None:
        self.write = write
        self._ended = ended
        self._window = DEFAULT_WINDOW  # of the connection
        self.initial_window = DEFAULT_WINDOW  # of each new stream
        self._frame = LARGEST_FRAME
        self._table, self._prelude = (
            DEFAULT_TABLE,
            b"",
        )  # what the peer takes our table for, and what it must hear of it
        self._stalled: dict[int, Stream] = {}

    # -- answers

    def whole(self, stream: Stream, head: bytes, body: bytes, trailers: bytes) -> None:
        """Answer with everything at once; `head` and `trailers` are packed headers."""
        size, number = len(body), stream.id
        if size > self._window or size > stream.credit or size > self._frame:
            self.head(stream, head)
            self.body(stream, body)
            self.trailers(stream, trailers)
            return
        if self._prelude:
            head = self._first(head)
        self._window -= size
        self.write(
            b"".join(
                (
                    HEADER.pack(0, len(head), HEADERS, END_HEADERS, number), head,
                    HEADER.pack(size >> 16, size & 0xFFFF, DATA, 0, number), body,
                    HEADER.pack(0, len(trailers), HEADERS, LAST, number), trailers,
                )
            )
        )  # fmt: skip
        self._ended(stream)

    def head(self, stream: Stream, block: bytes) -> None:
        block = self._first(block)
        self.write(HEADER.pack(0, len(block), HEADERS, END_HEADERS, stream.id) + block)

    def body(self, stream: Stream, piece: bytes) -> None:
        """Send `piece`, now or as the windows open."""
        if stream.queue is None:
            stream.queue = deque()
        if piece:
            stream.queue.append(memoryview(piece))
        self._send(stream)

    def trailers(self, stream: Stream, block: bytes) -> None:
        """End the answer, after all of its body, with packed headers; with nothing but its end when there are none."""
        stream.end = block
        self._send(stream)

    def only(self, stream: Stream, block: bytes) -> None:
        """An answer that is nothing but headers."""
        self._end(stream, HEADERS, block)

    def _end(self, stream: Stream, kind: int, content: bytes) -> None:
        if kind == HEADERS:
            content = self._first(content)
        self.write(HEADER.pack(0, len(content), kind, LAST if kind == HEADERS else END_STREAM, stream.id) + content)
        self._ended(stream)

    def _first(self, block: bytes) -> bytes:
        """A block of headers as it is sent next: our blocks use no table, which a peer may have to be told, once."""
        prelude, self._prelude = self._prelude, b""
        return prelude + block

    # -- windows

    def opened(self, more: int) -> None:
        """The peer takes `more` bytes, all streams together; raises ConnectionFault."""
        self._window += more
        if self._window > LARGEST_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "the connection's window is larger than 2^31-1")
        self._send_stalled()

    def opened_for(self, stream: Stream, more: int) -> None:
        """The peer takes `more` bytes of one stream; raises StreamFault."""
        stream.credit += more
        if stream.credit > LARGEST_WINDOW:
            raise StreamFault(stream.id, Code.FLOW_CONTROL_ERROR)
        self._send(stream)

    def setting(self, name: int, value: int, streams: dict[int, Stream]) -> None:
        """What the peer says of itself; raises ConnectionFault for what it may not say."""
        if name == INITIAL_WINDOW_SIZE:
            if value > LARGEST_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window is at most 2^31-1")
            self._resize(value - self.initial_window, streams)
            self.initial_window = value
        elif name == HEADER_TABLE_SIZE:
            if value < self._table:  # section 4.2 of RFC 7541
                self._table, self._prelude = 0, NO_TABLE
        elif name == MAX_FRAME_SIZE:
            if not LARGEST_FRAME <= value < 1 << 24:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a frame is 16 KiB to 16 MiB")
            self._frame = min(value, LARGEST_PIECE)

    def _resize(self, more: int, streams: dict[int, Stream]) -> None:
        for stream in streams.values():
            stream.credit += more
            if stream.credit > LARGEST_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a stream's window is larger than 2^31-1")
        self._send_stalled()

    def forget(self, stream: Stream) -> None:
        """Nothing more is to be sent on it."""
        stream.queue = stream.end = None
        self._stalled.pop(stream.id, None)

    def _send_stalled(self) -> None:
        if self._window > 0:
            for stream in list(self._stalled.values()):
                self._send(stream)

    def _send(self, stream: Stream) -> None:
        """As much of what is queued as the windows let through, then the end."""
        queue = stream.queue
        while queue:
            piece = queue[0]
            size = min(len(piece), self._window, stream.credit, self._frame)
            if size <= 0:
                self._stall(stream)
                return
            self._window -= size
            stream.credit -= size
            self.write(HEADER.pack(size >> 16, size & 0xFFFF, DATA, 0, stream.id) + piece[:size])
            if size == len(piece):
                queue.popleft()
            else:
                queue[0] = piece[size:]
        if stream.id in self._stalled:
            del self._stalled[stream.id]
            stream.stalled_since = math.inf
        if stream.end is not None:
            block, stream.end = stream.end, None
            self._end(stream, HEADERS if block else DATA, block)

    def _stall(self, stream: Stream) -> None:
        """It waits behind those that wait already."""
        self._stalled.pop(stream.id, None)
        self._stalled[stream.id] = stream
        stream.stalled_since = min(stream.stalled_since, time.monotonic())
