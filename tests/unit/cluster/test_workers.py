"""Workers: each ending of a turn, and when the deployment comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from tidegate.cluster.api import Key
from tidegate.cluster.errors import ApiDown, NotLeader, Refused, Throttled
from tidegate.cluster.metrics import Metrics
from tidegate.cluster.queue import WorkQueue
from tidegate.cluster.workers import Workers

KEY = ("payments", "fraud")
Outcome = timedelta | Exception | None


class Turns:
    """A reconciler that ends its turns as it is told."""

    def __init__(self, *outcomes: Outcome, known: bool = True) -> None:
        self.outcomes = list(outcomes)
        self.known = known
        self.done: list[Key] = []
        self.gate: asyncio.Event | None = None
        self.began = asyncio.Event()
        self.ended = asyncio.Event()

    async def reconcile(self, key: Key) -> timedelta | None:
        self.done.append(key)
        self.began.set()
        if self.gate:
            await self.gate.wait()
        outcome = self.outcomes.pop(0) if self.outcomes else None
        self.ended.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def knows(self, key: Key) -> bool:
        return self.known


def run(turns: Turns, story: Callable[[WorkQueue, Workers], object], resync: float = 3600.0) -> Metrics:
    """A story with one worker, ended in order."""
    metrics = Metrics()

    async def live() -> None:
        queue = WorkQueue()
        workers = Workers(queue, turns, metrics, 1, resync)
        workers.start()
        async with asyncio.timeout(10):
            await asyncio.ensure_future(story(queue, workers))  # type: ignore[call-overload]
            await workers.finish(1.0)

    asyncio.run(live())
    return metrics


def results(metrics: Metrics) -> dict[str, float]:
    lines = metrics.page().decode().splitlines()
    found = [line for line in lines if line.startswith("tidegate_reconciles_total")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in found}


async def turns_of(queue: WorkQueue, turns: Turns, count: int) -> None:
    queue.add(KEY)
    while len(turns.done) < count:
        await turns.ended.wait()
        turns.ended.clear()
        await asyncio.sleep(0)


def test_a_turn_says_itself_when_the_next_one_is_due() -> None:
    turns = Turns(timedelta(milliseconds=1), timedelta(milliseconds=1), None)

    metrics = run(turns, lambda queue, _: turns_of(queue, turns, 3))

    assert turns.done == [KEY, KEY, KEY]
    assert results(metrics) == {"ok": 3}


def test_a_deployment_that_asks_for_nothing_is_looked_at_again_after_the_resync() -> None:
    turns = Turns(None, None)

    run(turns, lambda queue, _: turns_of(queue, turns, 2), resync=0.01)

    assert turns.done == [KEY, KEY]


def test_a_deployment_that_is_gone_never_comes_back() -> None:
    turns = Turns(timedelta(milliseconds=1), known=False)

    async def story(queue: WorkQueue, _: Workers) -> None:
        await turns_of(queue, turns, 1)
        with pytest.raises(TimeoutError):  # many times the millisecond that it asked for
            async with asyncio.timeout(0.05):
                await queue.get()

    run(turns, story)

    assert turns.done == [KEY]


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (ApiDown("no answer"), "unavailable"),
        (Throttled("later", retry_after=0.01), "unavailable"),
        (Refused("no"), "error"),
        (ZeroDivisionError("a bug"), "error"),
    ],
)
def test_a_turn_that_fails_is_tried_again_and_stops_nobody(error: Exception, result: str) -> None:
    turns = Turns(error, None)

    metrics = run(turns, lambda queue, _: turns_of(queue, turns, 2))

    assert results(metrics) == {result: 1, "ok": 1}


def test_without_the_lease_nothing_is_tried_again() -> None:
    turns = Turns(NotLeader("the lease is lost"))

    async def story(queue: WorkQueue, _: Workers) -> None:
        await turns_of(queue, turns, 1)
        assert queue.depth == 0

    assert results(run(turns, story)) == {"fenced": 1}


def test_the_turn_under_way_comes_to_its_end() -> None:
    turns = Turns(None)

    async def story(queue: WorkQueue, workers: Workers) -> None:
        turns.gate = asyncio.Event()
        queue.add(KEY)
        await turns.began.wait()
        queue.add(("payments", "another"))
        ending = asyncio.create_task(workers.finish(5.0))
        await asyncio.sleep(0)
        turns.gate.set()
        await ending

    metrics = run(turns, story)

    assert turns.done == [KEY]
    assert results(metrics) == {"ok": 1}


def test_a_turn_that_does_not_end_is_cut_off() -> None:
    turns = Turns(None)

    async def story(queue: WorkQueue, workers: Workers) -> None:
        turns.gate = asyncio.Event()
        queue.add(KEY)
        await turns.began.wait()
        await workers.finish(0.01)

    run(turns, story)

    assert not turns.ended.is_set()
