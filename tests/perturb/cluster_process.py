"""One life of the operator, from an empty cache to its end: the product's own cache, queue, workers and reconciler.

What is missing of the process is what needs a real one: sockets, kopf and the lease.  Watches are the fake server's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.apiserver import FakeApi
from tests.fakes.cluster import FakeCluster
from tests.fakes.faults import Call
from tests.fakes.fields import Object

from tidegate.cluster.api import Key
from tidegate.cluster.errors import ClusterError, NotLeader
from tidegate.cluster.metrics import Metrics
from tidegate.cluster.queue import WorkQueue
from tidegate.cluster.reconcile import Chronicles, Measures, Reconciler, Surroundings
from tidegate.cluster.seen import Cache
from tidegate.cluster.watch import KINDS, SELECTORS
from tidegate.cluster.workers import Workers
from tidegate.plan.manifests.identity import Kind
from tidegate.plan.manifests.platform import Platform
from tidegate.plan.wanted import Event

from .cluster_timers import Timers, driven, started

RESYNC = 600.0
WATCHED = dict.fromkeys(KINDS, "") | SELECTORS
PLATFORM = Platform("registry.example/tidegate/runtime:1", access='{"issuer": "https://example", "keys": []}')
Tell = Callable[[Mapping[str, Any], Event], None]


class Results(Metrics):
    """How turns ended; the rest of the metrics counts nothing."""

    def __init__(self) -> None:
        self.turns: Counter[str] = Counter()
        self.last = ""

    def reconciled(self, result: str, seconds: float) -> None:
        self.turns[result] += 1
        self.last = result


@dataclass
class Watched:
    """The reconciler, with an ear for errors that no API server causes: the workers would only log them."""

    reconciler: Reconciler
    mistakes: list[Exception] = field(default_factory=list)

    async def reconcile(self, key: Key) -> object:
        try:
            return await self.reconciler.reconcile(key)
        except ClusterError:
            raise
        except Exception as mistake:
            self.mistakes.append(mistake)
            raise

    def knows(self, key: Key) -> bool:
        return self.reconciler.knows(key)


@dataclass(frozen=True, slots=True)
class LaterWrites:
    """Writes after a call."""

    number: int

    def __call__(self, call: Call) -> bool:
        return call.write > 0 and call.number > self.number


def not_leader() -> NotLeader:
    return NotLeader("the lease is lost")


class Process:
    """The operator, one turn at a time."""

    def __init__(self, cluster: FakeCluster, measures: Measures, tell: Tell, chronicle: Chronicles) -> None:
        self.timers = Timers(cluster.clock)
        self.api = FakeApi(cluster)
        self.cache = Cache()
        self.queue = WorkQueue()
        self.results = Results()
        self.outcomes: list[str] = []
        around = Surroundings(
            self.api, self.cache, self.platform, measures, tell, self._verdict, cluster.clock.now,
            chronicle=chronicle,
        )  # fmt: skip
        self.watched = Watched(Reconciler(around))
        self._workers = Workers(self.queue, self.watched, self.results, 1, RESYNC)  # type: ignore[arg-type]
        self.news_at_once = True  # whatever fails, something else happens to the deployment at that moment
        self.stuck: Coroutine[Any, Any, None] | None = None  # a turn whose request is under way
        self.watch = self.api.subscribe(self._hear, WATCHED, after_list=self._listed)

    def platform(self) -> Platform:
        return PLATFORM

    @property
    def reconciler(self) -> Reconciler:
        return self.watched.reconciler

    @property
    def busy(self) -> bool:
        return self.queue.depth > 0

    def wake(self) -> None:
        """Whatever's time has come joins the line."""
        with self.timers.running():
            self.timers.fire()

    def turn(self) -> None:
        """The next deployment in the line."""
        before = self._faults_left()
        with self.timers.running():
            key = driven(self.queue.get())
            try:
                self.stuck = started(self._workers._turn(key))
            finally:
                self.queue.done(key)
            if self.news_at_once and self._faults_left() < before:
                self.queue.add(key)
        self._raise_mistakes()

    def go_on(self) -> None:
        """The turn whose request was under way goes on."""
        assert self.stuck, "no request is under way"
        with self.timers.running():
            driven(self.stuck)
        self.stuck = None
        self._raise_mistakes()

    def lose_lead(self) -> None:
        """Writes are not sent from now on, but for one that is under way."""
        under_way = len(self.api.faults.log) if self.stuck else 0
        self.api.faults.fail(LaterWrites(under_way), not_leader, times=10**9)

    def _raise_mistakes(self) -> None:
        if self.watched.mistakes:
            mistake = self.watched.mistakes[0]
            raise AssertionError(f"a turn raised {mistake!r}") from mistake

    def _faults_left(self) -> int:
        """Planned ones that have not struck; of those without an end none ever has."""
        return sum(fault.times for fault in self.api.faults._planned if fault.times < 10**6)

    def _hear(self, kind: Kind, event: str | None, obj: Object) -> None:
        with self.timers.running():
            for key in self.cache.feed(kind, event, obj):
                self.queue.add(key)

    def _listed(self, kind: Kind, there: frozenset[Key], version: int) -> None:
        with self.timers.running():
            for key in self.cache.prune(kind, None, there, version):
                self.queue.add(key)

    def _verdict(self, outcome: str, seconds: float | None) -> None:
        self.outcomes.append(outcome)
