"""Many deployments at once, and one whole life of the operator's workers: hours of an event loop pass in seconds.

    run(Fleet.told(story, seconds_per_call=2.0))        # tests/unit/cluster/virtual_time.py

In other stories of this folder one deployment is told of, turn by turn; here the product's own workers take turns as
they will.  Users' requests and the servers' counters are left out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.fakes.apiserver import FakeApi
from tests.fakes.clock import START, Clock
from tests.fakes.cluster import FakeCluster
from tests.fakes.controllers import World
from tests.fakes.faults import Call
from tests.fakes.fields import Object
from tests.fakes.users import Users

from tidegate.cluster.api import Key
from tidegate.cluster.events import Recorder
from tidegate.cluster.measure import Measurer
from tidegate.cluster.metrics import Metrics
from tidegate.cluster.observe import Look
from tidegate.cluster.queue import WorkQueue
from tidegate.cluster.reconcile import Reconciler, Surroundings
from tidegate.cluster.seen import Cache
from tidegate.cluster.workers import Workers
from tidegate.plan.manifests.identity import Kind
from tidegate.plan.samples import PodSample

from .cluster_process import PLATFORM, RESYNC, WATCHED

WORKERS = 8
STEP_SECONDS = 6.0  # of the controllers
PATIENCE = 24 * 3600.0  # of this loop


class LoopClock(Clock):
    """The time of the loop."""

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class Unread(Measurer):
    """No server is asked for its counters."""

    async def samples(self, look: Look, revisions: Sequence[str]) -> tuple[PodSample, ...]:
        return ()


@dataclass(slots=True)
class Turn:
    """Of one deployment; times are the loop's."""

    key: Key
    began: float
    ended: float = 0.0


Story = Callable[["Fleet"], Awaitable[object]]


class Fleet:
    """The operator over a cluster; it is one of `Reconciles` itself, so that every turn is seen."""

    def __init__(self, cluster: FakeCluster, seconds_per_call: float) -> None:
        self.cluster = cluster
        self.users = Users(cluster)
        self.world = World(cluster)
        self.turns: list[Turn] = []
        self.api = FakeApi(cluster)
        self.api.faults.before = self._takes_its_time
        self.cache, self.queue = Cache(), WorkQueue()
        self.recorder, self.measurer = Recorder(self._posted, "fleet"), Unread(lambda: "")
        around = Surroundings(
            self.api, self.cache, lambda: PLATFORM, self.measurer, self.recorder.record, lambda *_: None,
            cluster.clock.now,
        )  # fmt: skip
        self.reconciler = Reconciler(around)
        self.workers = Workers(self.queue, self, Metrics(), WORKERS, RESYNC)
        self._seconds = seconds_per_call
        self._under_way: set[Key] = set()
        self.watch = self.api.subscribe(self._hear, WATCHED, after_list=self._listed)

    @classmethod
    async def told(
        cls,
        story: Story,
        seconds_per_call: float = 0.0,
        cluster: FakeCluster | None = None,
        *,
        controllers: bool = False,
    ) -> Fleet:
        """A story with workers at work, ended in order."""
        fleet = cls(cluster or FakeCluster(LoopClock()), seconds_per_call)
        helpers = [asyncio.create_task(fleet.recorder.run())]
        helpers += [asyncio.create_task(fleet._controllers())] if controllers else []
        fleet.workers.start()
        try:
            async with asyncio.timeout(PATIENCE):
                await story(fleet)
        finally:
            await fleet.workers.finish(60.0)
            for helper in helpers:
                helper.cancel()
            fleet.watch.close()
        return fleet

    async def until(self, holds: Callable[[], Any], every: float = 0.5) -> None:
        """Look again and again; nobody waits, for time is the loop's."""
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(every)

    async def reconcile(self, key: Key) -> timedelta | None:
        assert key not in self._under_way, f"{key} is worked on twice at a time"
        self._under_way.add(key)
        turn = Turn(key, self.cluster.clock.monotonic())
        self.turns.append(turn)
        try:
            return await self.reconciler.reconcile(key)
        finally:
            self._under_way.discard(key)
            turn.ended = self.cluster.clock.monotonic()

    def knows(self, key: Key) -> bool:
        return self.reconciler.knows(key)

    def tables(self) -> dict[str, int]:
        """How many entries everything has that the process remembers in, by class and attribute."""
        parts = (self.reconciler, self.queue, self.cache, self.recorder, self.measurer)
        return {
            f"{type(part).__name__}.{name}": entries(table)
            for part in parts
            for name, table in vars(part).items()
            if isinstance(table, dict | set | list | deque)
        }

    async def _takes_its_time(self, call: Call) -> None:
        await asyncio.sleep(self._seconds)

    async def _controllers(self) -> None:
        while True:
            self.world.step()
            await asyncio.sleep(STEP_SECONDS)

    async def _posted(self, event: Object) -> Object:
        return event

    def _hear(self, kind: Kind, event: str | None, obj: Object) -> None:
        self._wake(self.cache.feed(kind, event, obj))

    def _listed(self, kind: Kind, there: frozenset[Key], version: int) -> None:
        self._wake(self.cache.prune(kind, None, there, version))

    def _wake(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.queue.add(key)


def entries(table: Collection[Any]) -> int:
    """Of a table of tables those of the inner ones."""
    inner = [one for one in table.values() if isinstance(one, dict)] if isinstance(table, dict) else []
    return sum(map(len, inner)) if inner else len(table)
