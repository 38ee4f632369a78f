"""One HTTP request as a connection hands it on, and what all connections share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from tidegate_runtime.backpressure import POST, Backpressure
from tidegate_runtime.errors import RequestError, TooLarge
from tidegate_runtime.interfaces import Kind
from tidegate_runtime.parameters import PINNED, kind_of
from tidegate_runtime.routes import Route
from tidegate_runtime.trace_context import PARENT, STATE

if TYPE_CHECKING:
    from tidegate_runtime.http import Connection
    from tidegate_runtime.request_log import RequestLog

PINNED_HEADER: Final = PINNED.encode()
TRACED: Final = (PARENT.encode(), STATE.encode())
# What is kept of a header.
KEPT: Final = frozenset(
    (b"content-length", b"inference-header-content-length", b"x-tidegate-pinned", b"expect", b"content-encoding",
     b"transfer-encoding", b"authorization", b"x-request-id", *TRACED)
)  # fmt: skip
SERVER_ERROR: Final = 500
MOST_PATH: Final = 256  # of a path, in a span
SCRATCH: Final = 16 * 1024
FIRST: Final = len(POST)  # bytes that are read of one more request while many wait
ALIGNMENT: Final = 16
MOST_DIGITS: Final = 12


class Request:
    """One request, complete or refused."""

    __slots__ = ("arrived", "body", "chunks", "client", "encoding", "ended", "headers", "id", "keep_alive", "method",
                 "old", "refusal", "route", "started", "url")  # fmt: skip

    def __init__(self) -> None:
        self.url = b""
        self.method = b""
        self.headers: dict[bytes, bytes] = {}
        self.body: bytes | bytearray | memoryview = b""
        self.chunks: bytearray | None = None  # of a body whose length was not told
        self.encoding: bytes | None = None  # of a compressed body
        self.keep_alive = True
        self.old = False  # HTTP/1.0
        self.arrived = self.started = self.ended = 0.0  # the last two of its run
        self.client = ""  # whose token came with it
        self.id = ""  # its own, in the protocol's words
        self.route: Route | None = None
        self.refusal: RequestError | None = None

    @property
    def kind(self) -> Kind:
        return kind_of(pinned=PINNED_HEADER in self.headers)

    def room(self, length: int) -> memoryview:
        """Room for its body, so that what follows the JSON part is aligned; memory is only taken as bytes arrive."""
        given = self.headers.get(b"inference-header-content-length", b"0")
        text = int(given) if given.isdigit() and len(given) < MOST_DIGITS else 0
        shift = -text % ALIGNMENT
        return np.empty(shift + length, np.uint8).data[shift:]

    def trace_headers(self) -> tuple[str, str]:
        """See `interfaces.Source`."""
        parent = self.headers.get(TRACED[0])
        if parent is None:
            return "", ""
        return parent.decode("latin-1"), self.headers.get(TRACED[1], b"").decode("latin-1")

    def described(self, error: RequestError | None, *, tls: bool) -> tuple[str, dict[str, str | int | bool]]:
        """See `interfaces.Source`. A path is its own route: there is nothing in it to be filled in."""
        path = self.url.partition(b"?")[0][:MOST_PATH].decode("latin-1")
        method, status = self.method.decode("latin-1"), 200 if error is None else error.status
        attributes: dict[str, str | int | bool] = {
            "http.request.method": method,
            "http.route": path,
            "http.response.status_code": status,
            "url.path": path,
            "url.scheme": "https" if tls else "http",
            "network.protocol.version": "1.0" if self.old else "1.1",
        }
        if status >= SERVER_ERROR:
            attributes["error.type"] = str(status)
        return f"{method} {path}", attributes


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection may cost; seconds and bytes."""

    max_body: int
    header_timeout: float
    body_timeout: float
    idle_timeout: float

    def too_large(self) -> TooLarge:
        """What a client is told whose body is larger."""
        return TooLarge(f"the body is larger than {self.max_body} bytes")


@dataclass(slots=True)
class Front:
    """What all connections share.

    `route` sets a request's route and client; it raises RequestError for a path that is not served or not open to it.
    """

    limits: Limits
    route: Callable[[Request], Route]
    opened: Callable[[Connection], bool]  # false: one too many
    closed: Callable[[Connection], None]
    pressure: Backpressure
    head: bytes = b""  # headers of every answer
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(SCRATCH)))
    first: memoryview = field(init=False)  # the beginning of it: what is not read stays in the kernel
    closing: bool = False  # draining: every answer ends its connection
    log: RequestLog | None = None

    def __post_init__(self) -> None:
        self.first = self.scratch[:FIRST]
