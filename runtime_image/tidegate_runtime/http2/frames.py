"""Frames on the wire, and the two ways in which a peer can break the rules of them (RFC 9113, sections 4 to 7)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER: Final = struct.Struct(">BHBBL")  # length (24 bits in two parts), type, flags, stream
HEADER_SIZE: Final = HEADER.size
LARGEST_FRAME: Final = 16384  # bytes of payload; the least that everybody must take, and all that we do
LARGEST_WINDOW: Final = 2**31 - 1
LARGEST_STREAM: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65535
NUMBER: Final = struct.Struct(">L")
SETTING: Final = struct.Struct(">HL")

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20
PRIORITY_SIZE: Final = 5
PING_SIZE: Final = 8

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6


class Code(IntEnum):
    """Why a stream or a connection is ended."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):
    """What the peer did ends the connection, with GOAWAY."""

    def __init__(self, code: Code, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class StreamFault(Exception):
    """What the peer did ends one stream, with RST_STREAM."""

    def __init__(self, stream: int, code: Code) -> None:
        super().__init__(code.name)
        self.stream = stream
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame; `payload` is at most 16 KiB."""
    return HEADER.pack(0, len(payload), kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in values.items()))


def window_update(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, NUMBER.pack(more))


def reset(stream: int, code: Code) -> bytes:
    return frame(RST_STREAM, 0, stream, NUMBER.pack(code))


def goaway(last: int, code: Code, sentence: str = "") -> bytes:
    """The peer's streams up to `last` are, or may be, answered; `sentence` is for whoever reads its log."""
    return frame(GOAWAY, 0, 0, NUMBER.pack(last) + NUMBER.pack(code) + sentence.encode())


def unpadded(payload: memoryview, flags: int) -> memoryview:
    """The payload of a DATA or HEADERS frame without its padding; raises ConnectionFault."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(Code.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]


def require_size(payload: memoryview, size: int, what: str) -> None:
    if len(payload) != size:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"{what} must have {size} bytes")
