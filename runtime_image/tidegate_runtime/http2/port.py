"""What one connection may cost, and what all connections of a port share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tidegate_runtime.http2.connection import Connection
    from tidegate_runtime.http2.heads import Head
    from tidegate_runtime.http2.stream import Stream
from tidegate_runtime.request import Limits

SCRATCH: Final = 128 * 1024  # what is read at once


@dataclass(slots=True)
class Port:
    """What all connections share; `opened` says false when there is one too many."""

    limits: Limits
    begin: Callable[[Connection, int, Head], Stream]  # a request's head has come
    opened: Callable[[Connection], bool]
    closed: Callable[[Connection], None]
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(SCRATCH)))
