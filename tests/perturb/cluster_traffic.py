"""Users' requests in a fake cluster, and the servers' counters: what the operator's `Measures` are read from.

Requests go where the front Service leads, evenly to the ready pods that it selects, as kube-proxy would have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from tests.fakes.behaviours import addresses
from tests.fakes.clock import moment
from tests.fakes.cluster import FakeCluster
from tests.fakes.fields import Object
from tests.fakes.selectors import label_selector
from tests.unit.plan.world import Counters

from tidegate.cluster.api import Key
from tidegate.cluster.observe import Look, is_ready, pods_of
from tidegate.plan.manifests.identity import LABEL_REVISION, POD, SERVICE
from tidegate.plan.samples import PodSample
from tidegate.plan.wanted import Plan, ShadowWanted

from .cluster_reading import all_of, held, parsed, serves


@dataclass
class Manner:
    """How servers of a version answer."""

    errors: float = 0.0  # share of the requests that fail
    golden_fails: bool = False
    differs: float = 0.0  # share of the compared answers


@dataclass
class Asked:
    """What a plan wants of the servers; like the real requests it outlives the process that asked."""

    shadow: ShadowWanted | None = None
    golden: dict[str, float] = field(default_factory=dict)


class Traffic:
    """All requests of one cluster."""

    def __init__(self, cluster: FakeCluster, key: Key) -> None:
        self._cluster = cluster
        self._key = key
        self.rate = 30.0  # requests per second of all users
        self.manners: dict[str, Manner] = {}  # by version
        self.counters: dict[str, Counters] = {}  # by pod
        self.asked = Asked()
        self.unreadable = False  # no server answers when it is asked for its counters

    def manner(self, version: str) -> Manner:
        return self.manners.setdefault(version, Manner())

    def flows(self, seconds: float) -> None:
        """So long users send requests."""
        reached = selected(self._cluster, self._key)
        for pod in reached:
            share = self.manners.get(version_of(pod), Manner()).errors
            self._of(pod).serve(self.rate * seconds / len(reached), share, seconds)
        self._golden(seconds)
        self._compared(seconds)

    def _golden(self, seconds: float) -> None:
        for revision, rate in self.asked.golden.items():
            for pod in self._ready(revision)[:1]:
                sent = max(1, int(rate * seconds))
                self._of(pod).synthetic += sent
                self._of(pod).synthetic_bad += sent if self.manner(version_of(pod)).golden_fails else 0

    def _compared(self, seconds: float) -> None:
        wanted = self.asked.shadow
        if wanted is None or not self._ready(wanted.source):
            return
        for pod in self._ready(wanted.target)[:1]:
            compared = int(self.rate * seconds * wanted.percent / 100)
            self._of(pod).compared += compared
            self._of(pod).different += int(compared * self.manner(version_of(pod)).differs)

    def _ready(self, revision: str) -> list[Object]:
        pods = all_of(self._cluster, POD, self._key[0])
        return [pod for pod in pods if serves(pod) and pod["metadata"]["labels"].get(LABEL_REVISION) == revision]

    def _of(self, pod: Object) -> Counters:
        name = pod["metadata"]["name"]
        if name not in self.counters:
            self.counters[name] = Counters(name, moment(pod["metadata"]["creationTimestamp"]).timestamp())
        return self.counters[name]

    # -- `Measures` -------------------------------------------------------------------------------

    async def samples(self, look: Look, revisions: Sequence[str]) -> tuple[PodSample, ...]:
        return () if self.unreadable else tuple(self._samples(look, revisions))

    def _samples(self, look: Look, revisions: Sequence[str]) -> Iterator[PodSample]:
        for revision in revisions:
            there = {pod["metadata"]["name"]: pod for pod in self._ready(revision)}
            for pod in pods_of(look, revision):  # whoever is asked and is not there any more does not answer
                if pod["metadata"]["name"] in there and is_ready(pod):
                    yield self._of(there[pod["metadata"]["name"]]).sample(revision, look.now.timestamp())

    async def carry_out(self, key: Key, look: Look, plan: Plan, interval: timedelta) -> None:
        self.asked = Asked(plan.shadow, dict(plan.synthetic))

    def forget(self, key: Key) -> None:
        self.asked = Asked()


def version_of(pod: Object) -> str:
    """The last part of the address of the bundle that it serves."""
    return next((uri.rpartition("/")[2] for uri in addresses(pod["spec"])), "")


def selected(cluster: FakeCluster, key: Key) -> list[Object]:
    """The ready pods behind the front Service."""
    front = held(cluster, SERVICE, key)
    if front is None:
        return []
    selects = label_selector({"matchLabels": parsed(front)["spec"].get("selector")})
    return [pod for pod in all_of(cluster, POD, key[0]) if selects(pod["metadata"].get("labels") or {}) and serves(pod)]
