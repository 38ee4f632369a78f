"""A client of HTTP/2 that sends whatever frames it is told to, and reads what comes back frame by frame."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from hpack import Decoder, Encoder
from tests.runtime.conftest import DEADLINE
from tests.runtime.grpc_client import SERVICE, typed

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
NO_ERROR, PROTOCOL, FLOW_CONTROL, STREAM_CLOSED, REFUSED, CANCEL, COMPRESSION, CALM = 0, 1, 3, 5, 7, 8, 9, 11
INITIAL_WINDOW = 4
LIVE = f"{SERVICE}/ServerLive"
INFER = f"{SERVICE}/ModelInfer"
GOOD = typed("x", "FP32", [1, 4], fp32_contents=[1, 2, 3, 4]).SerializeToString()


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """Why GOAWAY or RST_STREAM was sent."""
        return int.from_bytes(self.payload[4:8] if self.kind == GOAWAY else self.payload[:4], "big")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BHBBL", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def settings(values: Mapping[int, int] | None = None) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", *pair) for pair in (values or {}).items()))


def message(content: bytes) -> bytes:
    return struct.pack(">BL", 0, len(content)) + content


class Peer:
    """One connection; `greeting` is what it says first."""

    def __init__(self, port: int, greeting: bytes = PREFACE + settings()) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._encoder, self._decoder = Encoder(), Decoder()
        self._buffer = b""
        self.next = 1
        self.send(greeting)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def flood(self, pieces: Iterable[bytes]) -> None:
        """Send until the server has had enough."""
        with contextlib.suppress(OSError):
            for piece in pieces:
                self._socket.sendall(piece)

    def block(self, path: str = LIVE, *more: tuple[str, str], method: str = "POST") -> bytes:
        """The headers of a call."""
        fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "test"),
                  ("content-type", "application/grpc"), ("te", "trailers"), *more]  # fmt: skip
        return self._encoder.encode(fields)

    def begin(self, path: str = LIVE, *more: tuple[str, str], flags: int = END_HEADERS) -> int:
        """Send the headers of a call; its stream."""
        stream, self.next = self.next, self.next + 2
        self.send(frame(HEADERS, flags, stream, self.block(path, *more)))
        return stream

    def ask(self, content: bytes = b"", path: str = LIVE) -> int:
        """Send a whole call; its stream."""
        stream = self.begin(path)
        self.send(frame(DATA, END_STREAM, stream, message(content)))
        return stream

    def read(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        while len(self._buffer) < 9 or len(self._buffer) < 9 + self._length():
            try:
                more = self._socket.recv(1 << 16)
            except ConnectionResetError:
                return None
            if not more:
                return None
            self._buffer += more
        size = 9 + self._length()
        whole, self._buffer = self._buffer[:size], self._buffer[size:]
        return Frame(whole[3], whole[4], int.from_bytes(whole[5:9], "big"), whole[9:])

    def _length(self) -> int:
        return int.from_bytes(self._buffer[:3], "big")

    def until(self, kind: int, stream: int | None = None) -> Frame:
        """The next frame of a kind; what comes before it is read over, and headers are unpacked."""
        while (found := self.read()) is not None:
            if found.kind == HEADERS and kind != HEADERS:
                self._decoder.decode(found.payload)
            if found.kind == kind and (stream is None or found.stream == stream):
                return found
        raise AssertionError("the connection has ended")

    def ended_with(self) -> int:
        """The code of the GOAWAY with which the server ends the connection."""
        code = self.until(GOAWAY).code
        while self.read() is not None:
            pass
        return code

    def fields(self, found: Frame) -> dict[str, Any]:
        return {str(name): value for name, value in self._decoder.decode(found.payload)}

    def status(self, stream: int) -> tuple[int, str]:
        """How a call ends: gRPC's status and sentence."""
        while True:
            found = self.until(HEADERS)
            fields = self.fields(found)
            if found.stream == stream and found.flags & END_STREAM:
                return int(fields["grpc-status"]), fields.get("grpc-message", "")
