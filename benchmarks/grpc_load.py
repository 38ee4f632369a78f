"""The closed-loop client of load.py for gRPC: one unary call at a time on each connection, frames made by hand.

It knows as much of HTTP/2 as a client needs that asks one server for one thing: it keeps to the server's windows and
frame size, answers SETTINGS and PING, and takes a call for answered when a message came before the end of its stream
(what is refused has none).  It decodes no header.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from typing import cast

from benchmarks.load import LONGEST_ANSWER, Result

METHOD = "/inference.GRPCInferenceService/ModelInfer"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
TABLE_SIZE, PUSH, INITIAL_WINDOW, FRAME_SIZE = 1, 2, 4, 5
DEFAULT_WINDOW, LARGEST_WINDOW = 65_535, 2**31 - 1  # ours is opened once: two gigabytes of answers a connection


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header_block(path: str) -> bytes:
    """The header of a call: static table entries, and literals that change no table."""

    def literal(name: bytes, value: bytes) -> bytes:
        return name + bytes([len(value)]) + value

    def new(name: bytes) -> bytes:
        return b"\x00" + bytes([len(name)]) + name

    return (
        b"\x83\x86"  # :method POST, :scheme http
        + literal(b"\x04", path.encode())
        + literal(b"\x01", b"localhost")
        + literal(b"\x0f\x10", b"application/grpc")
        + literal(new(b"te"), b"trailers")
    )


OPENING = (
    PREFACE
    + frame(SETTINGS, 0, 0, struct.pack(">HIHIHI", TABLE_SIZE, 0, PUSH, 0, INITIAL_WINDOW, LARGEST_WINDOW))
    + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", LARGEST_WINDOW - DEFAULT_WINDOW))
)


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, message: bytes, result: Result, lost: asyncio.Event) -> None:
        self._body = memoryview(b"\x00" + struct.pack(">I", len(message)) + message)
        self._headers = header_block(METHOD)
        self._result, self._lost = result, lost
        self._buffer = b""
        self._stream = -1  # the next one is 1
        self._at = 0  # bytes of the body that were sent
        self._got_message = False
        self._started = 0.0
        self._window = DEFAULT_WINDOW
        self._stream_window = self._initial_window = DEFAULT_WINDOW
        self._largest_frame = 16_384
        self.going = True
        self.finished = asyncio.Event()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(OPENING)

    def _ask(self) -> None:
        assert self.transport is not None
        self._stream += 2
        self._at, self._got_message, self._stream_window = 0, False, self._initial_window
        self._started = time.perf_counter()
        self.transport.writelines([frame(HEADERS, END_HEADERS, self._stream, self._headers), *self._more()])

    def _more(self) -> list[bytes | memoryview]:
        """As much of the body as the windows let pass."""
        pieces: list[bytes | memoryview] = []
        while self._at < len(self._body):
            size = min(len(self._body) - self._at, self._window, self._stream_window, self._largest_frame)
            if size <= 0:
                break
            flags = END_STREAM if self._at + size == len(self._body) else 0
            pieces.append(struct.pack(">I", size)[1:] + struct.pack(">BBI", DATA, flags, self._stream))
            pieces.append(self._body[self._at : self._at + size])
            self._at += size
            self._window -= size
            self._stream_window -= size
        return pieces

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        at, size = 0, len(buffer)
        while size - at >= 9:
            end = at + 9 + int.from_bytes(buffer[at : at + 3])
            if end > size:
                break
            stream = int.from_bytes(buffer[at + 5 : at + 9])
            self._frame(buffer[at + 3], buffer[at + 4], stream, buffer[at + 9 : end])
            at = end
        self._buffer = buffer[at:]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        assert self.transport is not None
        if kind == DATA:
            self._got_message = self._got_message or len(payload) > 0
        elif kind == WINDOW_UPDATE:
            self._opened(stream, int.from_bytes(payload))
        elif kind == SETTINGS and not flags & ACK:
            self._settings(payload)
        elif kind == PING and not flags & ACK:
            self.transport.write(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.transport.close()
        if stream == self._stream and (kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM)):
            self._answered()

    def _opened(self, stream: int, more: int) -> None:
        if stream == 0:
            self._window += more
        elif stream == self._stream:
            self._stream_window += more
        self._go_on()

    def _go_on(self) -> None:
        assert self.transport is not None
        if self._stream > 0 and (pieces := self._more()):
            self.transport.writelines(pieces)

    def _settings(self, payload: bytes) -> None:
        assert self.transport is not None
        self.transport.write(frame(SETTINGS, ACK, 0))
        for name, value in struct.iter_unpack(">HI", payload):
            if name == INITIAL_WINDOW:
                self._stream_window += value - self._initial_window
                self._initial_window = value
            elif name == FRAME_SIZE:
                self._largest_frame = value
        if self._stream < 0:
            self._ask()
        else:
            self._go_on()

    def _answered(self) -> None:
        self._result.latencies.append(time.perf_counter() - self._started)
        self._result.requests += 1
        self._result.errors += not self._got_message
        if self.going:
            self._ask()
        else:
            self.finished.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.finished.is_set():
            self._result.errors += 1
            self._lost.set()
            self.finished.set()


async def load(host: str, port: int, message: bytes, connections: int, seconds: float) -> Result:
    """Call ModelInfer with `message` over `connections` connections for `seconds`, then wait for what is under way."""
    result, lost, loop = Result(), asyncio.Event(), asyncio.get_running_loop()
    started = time.perf_counter()
    made = [
        await loop.create_connection(lambda: _Client(message, result, lost), host, port) for _ in range(connections)
    ]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(lost.wait(), seconds)
    for _, one in made:
        one.going = False
    async with asyncio.timeout(LONGEST_ANSWER):
        await asyncio.gather(*(one.finished.wait() for _, one in made))
    result.seconds = time.perf_counter() - started
    for transport, _ in made:
        transport.close()
    return result
