"""The requests of one connection that came before their turn."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tidegate_runtime.request import Request

MOST_REQUESTS: Final = 32
MOST_BYTES: Final = 64 * 1024  # of their bodies, and one that may be larger: else it could hold 32 large ones


class Pipeline(deque["Request"]):
    """Complete requests in the order in which they are to be answered; `add` and `next` change it."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether no more should be read before some are answered."""
        return len(self) >= MOST_REQUESTS or self._bytes > MOST_BYTES

    def add(self, request: Request) -> None:
        self.append(request)
        self._bytes += len(request.body)

    def next(self) -> Request:
        """The oldest one, taken out."""
        request = self.popleft()
        self._bytes -= len(request.body)
        return request

    def clear(self) -> None:
        super().clear()
        self._bytes = 0
