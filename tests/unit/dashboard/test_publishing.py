"""Of a burst each rollout is looked at once."""

from __future__ import annotations

import asyncio

from tidegate.dashboard.board import Board, Key
from tidegate.dashboard.publishing import Publisher


def test_of_a_burst_each_rollout_is_looked_at_once_and_pages_are_woken_once() -> None:
    looked: list[Key] = []

    def look(key: Key) -> bytes | None:
        looked.append(key)
        return b"{}" if key[1] != "gone" else None

    async def story() -> None:
        publisher = Publisher(Board("a"), look)
        running = asyncio.create_task(publisher.run())
        with publisher.reading() as news:
            for _ in range(100):
                publisher.changed(("shop", "fraud"))
                publisher.changed(("shop", "gone"))
            await asyncio.wait_for(news.wait(), 5)
        assert publisher.readers == 0
        running.cancel()

    asyncio.run(story())
    assert looked == [("shop", "fraud"), ("shop", "gone")]
