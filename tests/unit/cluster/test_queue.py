from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from typing import TypeVar

import pytest
from tests.unit.cluster.virtual_time import now, run

from tidegate.cluster.api import Key
from tidegate.cluster.queue import FIRST_PAUSE, LONGEST_PAUSE, MOST_REMEMBERED, WorkQueue, jittered

T = TypeVar("T")
A, B, C, GONE = ("ns", "a"), ("ns", "b"), ("ns", "c"), ("ns", "gone")


async def taken(queue: WorkQueue, most: int = 10) -> list[Key]:
    """What workers are given right now."""
    found: list[Key] = []
    while queue.depth and len(found) < most:
        found.append(await queue.get())
    return found


def test_a_deployment_that_is_named_often_is_looked_at_once() -> None:
    async def story() -> None:
        queue = WorkQueue()
        for key in (A, B, A, A):
            queue.add(key)

        assert await taken(queue) == [A, B]

    run(story())


def test_a_deployment_is_never_given_to_two_workers() -> None:
    async def story() -> None:
        queue = WorkQueue()
        queue.add(A)
        await queue.get()
        queue.add(A)

        assert queue.depth == 0

        queue.done(A)
        assert await taken(queue) == [A]

    run(story())


def test_what_was_not_named_again_does_not_come_back() -> None:
    async def story() -> None:
        queue = WorkQueue()
        queue.add(A)
        await queue.get()
        queue.done(A)

        assert queue.idle

    run(story())


def test_a_busy_deployment_goes_to_the_back() -> None:
    async def story() -> None:
        queue = WorkQueue()
        queue.add(A)
        await queue.get()
        queue.add(A)
        queue.add(B)
        queue.add(C)
        queue.done(A)

        assert await taken(queue) == [B, C, A]

    run(story())


def test_a_hot_deployment_starves_nobody() -> None:
    async def story() -> list[Key]:
        queue, order = WorkQueue(), []
        for number in range(5):
            queue.add(("ns", str(number)))
        queue.add(A)
        while queue.depth:
            key = await queue.get()
            order.append(key)
            if key == A and order.count(A) < 20:
                queue.add(A)
            queue.done(key)
        return order

    order = run(story())

    assert {name for _, name in order[:6]} == {"0", "1", "2", "3", "4", "a"}


def test_a_worker_that_waits_gets_what_comes() -> None:
    async def story() -> Key:
        queue = WorkQueue()
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(1)
        queue.add(A)
        return await waiting

    assert run(story()) == A


def test_several_waiting_workers_share_what_comes() -> None:
    async def story() -> set[Key]:
        queue = WorkQueue()
        workers = [asyncio.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(1)
        for key in (A, B, C):
            queue.add(key)
        return set(await asyncio.gather(*workers))

    assert run(story()) == {A, B, C}


def test_a_timer_comes_when_it_is_due() -> None:
    async def story() -> float:
        queue = WorkQueue()
        queue.add_after(A, 60)
        await queue.get()
        return now()

    assert run(story()) == pytest.approx(60)


def test_of_several_timers_the_earliest_counts() -> None:
    async def story() -> float:
        queue = WorkQueue()
        for seconds in (60, 10, 300):
            queue.add_after(A, seconds)
        await queue.get()
        return now()

    assert run(story()) == pytest.approx(10)


def test_a_look_that_comes_earlier_makes_the_timer_void() -> None:
    """The plan of that look sets the next one; without one there is none."""

    async def story() -> bool:
        queue = WorkQueue()
        queue.add_after(A, 60)
        queue.add(A)
        queue.done(await queue.get())
        await asyncio.sleep(120)
        return queue.idle

    assert run(story())


async def pauses(queue: WorkQueue, count: int) -> list[float]:
    found = []
    for _ in range(count):
        queue.failed(A)
        began = now()
        queue.done(await queue.get())
        found.append(now() - began)
    return found


def test_failures_come_back_later_and_later_up_to_a_limit() -> None:
    found = run(_with_queue(lambda queue: pauses(queue, 14)))

    assert FIRST_PAUSE * 0.75 <= found[0] <= FIRST_PAUSE
    assert all(later > earlier for earlier, later in pairwise(found[:9]))
    assert all(0.75 * LONGEST_PAUSE <= pause <= LONGEST_PAUSE for pause in found[-3:])


def test_after_a_success_the_next_failure_is_the_first() -> None:
    async def story(queue: WorkQueue) -> list[float]:
        await pauses(queue, 8)
        queue.forget(A)
        return await pauses(queue, 1)

    assert run(_with_queue(story))[0] <= FIRST_PAUSE


def test_a_pause_that_the_server_asked_for_is_kept() -> None:
    async def story(queue: WorkQueue) -> float:
        queue.failed(A, at_least=30)
        await queue.get()
        return now()

    assert run(_with_queue(story)) == pytest.approx(30)


def test_news_are_not_held_up_by_an_earlier_failure() -> None:
    async def story(queue: WorkQueue) -> float:
        for _ in range(10):
            queue.failed(A)
        queue.add(A)
        await queue.get()
        return now()

    assert run(_with_queue(story)) == 0


def test_of_a_removed_deployment_nothing_is_left() -> None:
    async def story(queue: WorkQueue) -> bool:
        queue.failed(A)
        queue.remove(A)
        await asyncio.sleep(LONGEST_PAUSE * 2)
        return queue.idle

    assert run(_with_queue(story))


def test_depth_and_age_tell_of_those_who_wait() -> None:
    async def story(queue: WorkQueue) -> tuple[int, float]:
        queue.add(A)
        await asyncio.sleep(3)
        queue.add(B)
        queue.add_after(C, 60)
        return queue.depth, queue.age

    depth, age = run(_with_queue(story))

    assert depth == 2
    assert age == pytest.approx(3)


def test_a_standby_has_nobody_waiting_and_begins_with_what_changed_last() -> None:
    async def story(queue: WorkQueue) -> tuple[int, float, float, list[Key]]:
        queue.stand_by()
        for key in (A, B, GONE, B):
            queue.add(key)
        await asyncio.sleep(100)
        depth, age = queue.depth, queue.age
        queue.begin([C, A, B])
        later = queue.age
        queue.add(A)
        return depth, age, later, [await queue.get() for _ in range(3)]

    assert run(_with_queue(story)) == (0, 0.0, 0.0, [B, A, C])


def test_a_standby_that_begins_goes_through_the_deployments_a_fixed_number_of_times() -> None:
    class Counted(list[Key]):
        times = 0

        def __iter__(self) -> Iterator[Key]:
            self.times += 1
            return super().__iter__()

    async def story(queue: WorkQueue) -> int:
        there = Counted(("ns", str(number)) for number in range(100))
        queue.stand_by()
        for key in there:
            queue.add(key)
        before = there.times
        queue.begin(there)
        return there.times - before

    assert run(_with_queue(story)) == 2


def test_a_standby_remembers_a_limited_number() -> None:
    async def story(queue: WorkQueue) -> list[Key]:
        queue.stand_by()
        for number in range(3 * MOST_REMEMBERED):
            queue.add(("ns", str(number)))
        queue.begin([("ns", "0"), ("ns", str(3 * MOST_REMEMBERED - 1))])
        return [await queue.get() for _ in range(2)]

    assert run(_with_queue(story)) == [("ns", str(3 * MOST_REMEMBERED - 1)), ("ns", "0")]


def test_a_jitter_spreads_around_the_time() -> None:
    found = {jittered(100) for _ in range(50)}

    assert len(found) > 10
    assert all(90 <= time <= 110 for time in found)


async def _with_queue(story: Callable[[WorkQueue], Awaitable[T]]) -> T:
    return await story(WorkQueue())


def test_a_long_line_keeps_nobody_else_from_running() -> None:
    async def story() -> int:
        queue, renewals = WorkQueue(), 0

        async def renew() -> None:
            nonlocal renewals
            while True:
                renewals += 1
                await asyncio.sleep(0)

        renewing = asyncio.create_task(renew())
        for number in range(100):
            queue.add(("ns", str(number)))
        await taken(queue, 100)
        renewing.cancel()
        return renewals

    assert run(story()) >= 100
