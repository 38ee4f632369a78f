"""How an answer over HTTP/1.1 begins."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON: Final = b"application/json"
CLOSE: Final = b"connection: close\r\n"
KEEP: Final = b"connection: keep-alive\r\n"  # which HTTP/1.0 must be told


def head(status: int, kind: bytes, length: int, more: bytes) -> bytes:
    """Everything before a body of `length` bytes; `more` holds whole lines."""
    return b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b\r\n" % (STATUS_LINES[status], kind, length, more)
