"""From "this rollout has changed" to the board, and to whoever looks at it.

Changes are gathered for a moment: of a hundred in a burst each rollout is looked at once, and each page woken once.
All of it runs in the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tidegate.dashboard.board import Board, Key

GATHER_SECONDS = 0.02

Look = Callable[[Key], bytes | None]  # the rollout as JSON now; None where there is none any more


class Publisher:
    """The board, and the looks that keep it current."""

    def __init__(self, board: Board, look: Look) -> None:
        self.board = board
        self._look = look
        self._changed: dict[Key, None] = {}
        self._some = asyncio.Event()
        self._readers: set[asyncio.Event] = set()

    @property
    def readers(self) -> int:
        return len(self._readers)

    def changed(self, key: Key) -> None:
        """Look at this rollout again."""
        self._changed[key] = None
        self._some.set()

    def tell(self, facts: bytes) -> None:
        if self.board.tell(facts):
            self._wake()

    @contextmanager
    def reading(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever there is news, for as long as somebody reads."""
        news = asyncio.Event()
        self._readers.add(news)
        try:
            yield news
        finally:
            self._readers.remove(news)

    async def run(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            if self._publish():
                self._wake()
            await asyncio.sleep(GATHER_SECONDS)

    def _publish(self) -> bool:
        changed, self._changed = self._changed, {}
        news = [self._show(key) for key in changed]
        return any(news)

    def _show(self, key: Key) -> bool:
        content = self._look(key)
        return self.board.remove(key) if content is None else self.board.put(key, content)

    def _wake(self) -> None:
        for news in self._readers:
            news.set()
