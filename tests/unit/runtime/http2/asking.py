"""An HTTP/2 connection without gRPC: a transport that keeps what is written, and streams that say what they heard."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, cast

from hpack import Encoder

from tidegate_runtime.http2 import frames
from tidegate_runtime.http2.connection import Connection
from tidegate_runtime.http2.heads import Head
from tidegate_runtime.http2.port import Port
from tidegate_runtime.http2.stream import Stream
from tidegate_runtime.request import Limits

HEADER_SECONDS, BODY_SECONDS, IDLE_SECONDS = 10.0, 60.0, 3600.0
FIELDS = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "test")]
END, STARTED = Encoder().encode([("end", "1")]), Encoder().encode([(":status", "200")])


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.reading = True
        self.unsent = 0
        self.closed = self.aborted = self.eof = False

    def write(self, data: bytes) -> None:
        assert not self.eof
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write_eof(self) -> None:
        self.eof = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """What was written since the last time: type, flags, stream, payload."""
        found, at = [], 0
        while at < len(self.written):
            high, low, kind, flags, stream = frames.HEADER.unpack_from(self.written, at)
            end = at + 9 + (high << 16 | low)
            found.append((kind, flags, stream, self.written[at + 9 : end]))
            at = end
        self.written = b""
        return found

    def kinds(self) -> list[int]:
        return [kind for kind, *_ in self.frames()]


class Echo(Stream):
    """Answers with what it got, or when it is told to."""

    def __init__(self, connection: Connection, number: int, head: Head, now: bool) -> None:
        super().__init__(connection, number, head.length)
        self.head, self.heard, self.said, self._now = head, b"", list[str](), now

    def begin(self) -> None:
        self.said.append("begin")

    def data(self, payload: memoryview) -> None:
        self.heard += payload

    def complete(self) -> None:
        self.said.append("complete")
        self.deadline = math.inf
        if self._now:
            self.answer()

    def answer(self) -> None:
        self.connection.out.whole(self, STARTED, self.heard, END)

    def lost(self) -> None:
        self.said.append("lost")

    def overdue(self) -> None:
        self.said.append("overdue")
        self.connection.out.only(self, STARTED)


class Line:
    """A connection that has said hello."""

    def __init__(
        self, *, hello: bytes = frames.PREFACE + frames.settings({}), now: bool = True, max_body: int = 1 << 20
    ) -> None:
        self.streams: list[Echo] = []
        self.transport, self.gone = Transport(), False
        self._encoder, self._now = Encoder(), now
        self.limits = Limits(max_body, HEADER_SECONDS, BODY_SECONDS, IDLE_SECONDS)
        port = Port(self.limits, self._begin, lambda _: True, self._closed)
        self.connection = Connection(port)
        self.connection.connection_made(cast("Any", self.transport))
        self._scratch = port.scratch
        if hello:
            self.receive(hello)
            self.transport.frames()

    def _begin(self, connection: Connection, number: int, head: Head) -> Stream:
        self.streams.append(Echo(connection, number, head, self._now))
        return self.streams[-1]

    def _closed(self, _: Connection) -> None:
        self.gone = True

    def receive(self, data: bytes) -> None:
        while data:
            room = self.connection.get_buffer(-1)
            size = min(len(room), len(data))
            room[:size] = data[:size]
            self.connection.buffer_updated(size)
            data = data[size:]

    def ask(self, number: int, content: bytes = b"hello") -> Echo:
        self.head(number, FIELDS)
        self.data(number, content, frames.END_STREAM)
        return self.streams[-1]

    def head(self, number: int, fields: Sequence[tuple[str, str]], flags: int = frames.END_HEADERS) -> None:
        self.receive(frames.frame(frames.HEADERS, flags, number, self._encoder.encode(fields)))

    def data(self, number: int, content: bytes, flags: int = 0) -> None:
        """In frames of 16 KiB; the last one has the flags."""
        while len(content) > frames.LARGEST_FRAME:
            self.receive(frames.frame(frames.DATA, 0, number, content[: frames.LARGEST_FRAME]))
            content = content[frames.LARGEST_FRAME :]
        self.receive(frames.frame(frames.DATA, flags, number, content))

    def reset(self, number: int) -> None:
        self.receive(frames.frame(frames.RST_STREAM, 0, number, struct.pack(">L", frames.Code.CANCEL)))
