"""The requests of one connection that came before their turn."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tidegate_runtime.request import Request

MOST_REQUESTS: Final = 32
MOST_BYTES: Final = 64 * 1024  # of their bodies, and one that may be larger: else it could hold 32 large ones


class Pipeline:
    """Complete requests in the order in which they are to be answered."""

    __slots__ = ("_bytes", "_requests")

    def __init__(self) -> None:
        self._requests: deque[Request] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._requests)

    @property
    def full(self) -> bool:
        """Whether no more should be read before some are answered."""
        return len(self._requests) >= MOST_REQUESTS or self._bytes > MOST_BYTES

    def add(self, request: Request) -> None:
        self._requests.append(request)
        self._bytes += len(request.body)

    def next(self) -> Request:
        """The oldest one, taken out."""
        request = self._requests.popleft()
        self._bytes -= len(request.body)
        return request

    def clear(self) -> None:
        self._requests.clear()
        self._bytes = 0
