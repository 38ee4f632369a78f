"""One HTTP request as a connection hands it on, and what all connections share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tidegate_runtime.backpressure import Backpressure
from tidegate_runtime.errors import RequestError
from tidegate_runtime.interfaces import Kind
from tidegate_runtime.parameters import PINNED, kind_of
from tidegate_runtime.routes import Route

if TYPE_CHECKING:
    from tidegate_runtime.http import Connection

PINNED_HEADER: Final = PINNED.encode()
SCRATCH: Final = 16 * 1024


class Request:
    """One request, complete or refused."""

    __slots__ = ("arrived", "body", "chunks", "encoding", "headers", "keep_alive", "method", "old", "refusal", "route",
                 "url")  # fmt: skip

    def __init__(self) -> None:
        self.url = b""
        self.method = b""
        self.headers: dict[bytes, bytes] = {}
        self.body: bytes | bytearray | memoryview = b""
        self.chunks: bytearray | None = None  # of a body whose length was not told
        self.encoding: bytes | None = None  # of a compressed body
        self.keep_alive = True
        self.old = False  # HTTP/1.0
        self.arrived = 0.0
        self.route: Route | None = None
        self.refusal: RequestError | None = None

    @property
    def kind(self) -> Kind:
        return kind_of(pinned=PINNED_HEADER in self.headers)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection may cost; seconds and bytes."""

    max_body: int
    header_timeout: float
    body_timeout: float
    idle_timeout: float


@dataclass(slots=True)
class Front:
    """What all connections share. `route` raises RequestError for a path that is not served."""

    limits: Limits
    route: Callable[[bytes], Route]
    opened: Callable[[Connection], bool]  # false: one too many
    closed: Callable[[Connection], None]
    pressure: Backpressure
    head: bytes = b""  # headers of every answer
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(SCRATCH)))
    closing: bool = False  # draining: every answer ends its connection
