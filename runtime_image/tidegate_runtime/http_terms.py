"""The fixed words of HTTP/1.1 as connections use them, made once."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from tidegate_runtime.errors import TooLarge
from tidegate_runtime.request import TRACED

KEPT: Final = frozenset(
    (b"content-length", b"inference-header-content-length", b"x-tidegate-pinned", b"expect", b"content-encoding",
     b"transfer-encoding", b"authorization", b"x-request-id", *TRACED)
)  # fmt: skip
STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
JSON: Final = b"application/json"
VERSIONS: Final = ("1.1", "1.0")
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes")
