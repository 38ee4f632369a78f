"""Who looks after every write, and says which invariant of cluster_rules.py it breaks.

What is broken is noted, and raised when the turn is over: the workers would take an exception here for an answer of
the server.  I8 (nobody writes who does not lead) is seen to by faults: such a write is never sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.fakes.cluster import FakeCluster
from tests.fakes.faults import Call
from tests.fakes.fields import Object
from tests.fakes.kubelet import is_ready

from tidegate.cluster.api import Key
from tidegate.plan.manifests.identity import (
    CHILD_KINDS,
    LABEL_REVISION,
    MODEL_DEPLOYMENT,
    POD,
    Kind,
)
from tidegate.plan.replicas import FULL

from .cluster_process import Process
from .cluster_rules import RULES, Break, Written, never_three, somebody_is_reached
from .cluster_view import View, view_of


@dataclass
class Witness:
    """Of one deployment."""

    cluster: FakeCluster
    key: Key
    broken: list[Break] = field(default_factory=list)
    last: View = field(default_factory=View)
    began: View = field(default_factory=View)  # before the turn
    weights: set[int] = field(default_factory=lambda: {FULL})
    specs: dict[int, Object] = field(default_factory=dict)  # by generation, of the present owner
    foreign: dict[tuple[Kind, Key], bytes] = field(default_factory=dict)
    floor: int = 0  # pods that a front must lead to, once there were as many
    forgives: bool = False  # a write lands that only a real lease could have kept back
    writes: int = 0

    def kept(self) -> list[object]:
        """Values that are never changed: copies may share them."""
        parts = (self.last.owner, self.last.front, *self.last.deployments.values(), *self.last.pods)
        return [*parts, self.last, self.began, self.last.status, *self.specs.values(), *self.foreign.values()]

    # -- what a story tells it --------------------------------------------------------------------

    def expect(self, owner: Object) -> None:
        """The user has written this spec: its steps are allowed from now on."""
        spec = owner["spec"]
        self.weights |= {int(step["weight"]) for step in spec["rollout"]["steps"]}
        if owner["metadata"]["generation"] == 1:
            self.specs.clear()
        self.specs[owner["metadata"]["generation"]] = spec

    def strange(self, obj: Object) -> None:
        """Somebody else's object, which must stay as it is."""
        kind = next(kind for kind in (*CHILD_KINDS, POD) if kind.kind == obj["kind"])
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        held = self.cluster.objects.held(kind, *key)
        assert held
        self.foreign[kind, key] = held.text

    def warm(self, revision: str) -> bool:
        """Whether it was the version to go back to when the turn began."""
        rollout = self.began.status.rollout
        return rollout is not None and rollout.previous is not None and rollout.previous.revision == revision

    # -- when it looks ----------------------------------------------------------------------------

    def look(self) -> None:
        """Before a turn."""
        self.last = self.began = view_of(self.cluster, self.key)
        for kind, key in self.foreign:
            if held := self.cluster.objects.held(kind, *key):
                self.foreign[kind, key] = held.text

    def after_write_of(self, process: Process) -> Hook:
        return Hook(self, process)

    def note(self, process: Process, call: Call) -> None:
        after = view_of(self.cluster, self.key)
        write = Written(call, self.last, after, Seen(process, self.key), uid_known(process, self.key))
        self.writes += 1
        for rule in () if self.forgives else RULES:
            self.broken += [f"{found} (write {call})" for found in rule(self, write)]
        self.last = after

    def at_rest(self, process: Process | None) -> None:
        """When everything has been done that could be."""
        view = view_of(self.cluster, self.key)
        found = [*somebody_is_reached(self, view), *(never_three(view) if process else ())]
        self.broken += [f"{what} (at rest)" for what in found]
        self.check()

    def check(self) -> None:
        found, self.broken = self.broken, []
        assert not found, "; ".join(found)


@dataclass(frozen=True, slots=True)
class Hook:
    """What a client calls after each write."""

    witness: Witness
    process: Process

    def __call__(self, call: Call) -> None:
        self.witness.note(self.process, call)


@dataclass(frozen=True, slots=True)
class Seen:
    """Ready pods by revision, as the operator's cache has them."""

    process: Process
    key: Key

    def __call__(self, revision: str) -> int:
        pods = self.process.cache.of_kind(POD, *self.key)
        return sum(
            1
            for pod in pods
            if pod["metadata"]["labels"].get(LABEL_REVISION) == revision
            and is_ready(pod)
            and not pod["metadata"].get("deletionTimestamp")
        )


def uid_known(process: Process, key: Key) -> str:
    owner = process.cache.get(MODEL_DEPLOYMENT, *key)
    return str(owner["metadata"]["uid"]) if owner else ""
