from __future__ import annotations

import asyncio

import pytest
from tests.unit.cluster.virtual_time import now, run

from tidegate.cluster.limit import MOST, START, Limit


async def busy(limit: Limit, seconds: float, log: list[float] | None = None) -> None:
    async with limit:
        if log is not None:
            log.append(now())
        await asyncio.sleep(seconds)


async def all_of(limit: Limit, count: int, seconds: float = 1.0) -> list[float]:
    """When each of so many requests was begun."""
    begun: list[float] = []
    await asyncio.gather(*(busy(limit, seconds, begun) for _ in range(count)))
    return begun


def test_so_many_at_once_and_no_more() -> None:
    assert run(all_of(Limit(start=3), 7)) == [0, 0, 0, 1, 1, 1, 2]


def test_it_starts_with_thirty_two() -> None:
    assert run(all_of(Limit(), START + 1)).count(0) == START


def test_it_grows_by_one_in_a_round_of_good_answers() -> None:
    limit = Limit(start=10)
    for _ in range(11):
        limit.fine()

    assert limit.allowed == 11


def test_it_has_an_upper_end() -> None:
    limit = Limit()
    for _ in range(100_000):
        limit.fine()

    assert limit.allowed == MOST


def test_it_halves_in_trouble_and_keeps_one() -> None:
    async def story() -> list[int]:
        limit, seen = Limit(start=8), []
        for _ in range(6):
            limit.suffered()
            seen.append(limit.allowed)
            await asyncio.sleep(2)
        return seen

    assert run(story()) == [4, 2, 1, 1, 1, 1]


def test_failures_at_the_same_time_count_as_one() -> None:
    async def story() -> int:
        limit = Limit(start=32)
        for _ in range(32):
            limit.suffered()
        return limit.allowed

    assert run(story()) == 16


def test_for_as_long_as_the_server_asks_nothing_is_sent() -> None:
    async def story() -> list[float]:
        limit = Limit()
        limit.suffered(retry_after=7)
        return await all_of(limit, 3)

    assert run(story()) == [7, 7, 7]


def test_a_silence_that_is_made_longer_meanwhile_is_kept() -> None:
    async def story() -> float:
        limit = Limit()
        limit.suffered(retry_after=5)
        waiting = asyncio.create_task(all_of(limit, 1))
        await asyncio.sleep(3)
        limit.suffered(retry_after=20)
        return (await waiting)[0]

    assert run(story()) == 23


@pytest.mark.parametrize("silence", [0.0, 50.0])
def test_who_gives_up_waiting_leaves_no_gap(silence: float) -> None:
    async def story() -> list[float]:
        limit = Limit(start=1, most=1)
        if silence:
            limit.suffered(retry_after=silence)
        first = asyncio.create_task(busy(limit, 5))
        impatient = [asyncio.create_task(busy(limit, 5)) for _ in range(3)]
        await asyncio.sleep(1)
        for task in (first, *impatient):
            task.cancel()
        await asyncio.gather(first, *impatient, return_exceptions=True)
        return await all_of(limit, 1)

    assert run(story()) == [max(1.0, silence)]
