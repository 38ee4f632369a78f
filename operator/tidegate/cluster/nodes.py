"""What the cluster's nodes have of accelerators: read when pods wait for some, or are about to take others' places.

Not watched: most clusters never need it, and a large one has megabytes of nodes.  It takes one right, to list nodes;
where that is not given, or the operator may look into its namespaces only, sentences go without these counts, and
`surge` is decided by the scheduler's own word alone.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Protocol

from tidegate.api.runtime import Accelerator
from tidegate.api.status import ModelDeploymentStatus
from tidegate.cluster.api import Object, Objects
from tidegate.cluster.errors import ClusterError
from tidegate.cluster.failures import reasons
from tidegate.plan.accelerators import Node
from tidegate.plan.manifests.identity import POD, Kind
from tidegate.plan.observed import Failure, RevisionRecord
from tidegate.plan.phases import ACTIVE, Surge

NODE = Kind("v1", "Node", "nodes")
FRESH_SECONDS = 1.0
AFTER_TROUBLE_SECONDS = 300.0
MOST_COUNTED = 32  # nodes whose pods are read: one request each
ENDED = ("Succeeded", "Failed")

log = logging.getLogger(__name__)


class Walks(Protocol):
    """Who reads a collection page by page, as `Kube.walk` does."""

    def walk(self, kind: Kind, fields: str = "") -> AsyncIterator[Objects]: ...


class NodeReader:
    """The nodes as of a few seconds ago, for all deployments; None where nobody may read them."""

    def __init__(self, api: Walks, *, allowed: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._allowed = allowed
        self._clock = clock
        self._turn = asyncio.Lock()
        self._nodes: tuple[Node, ...] | None = None
        self._about: frozenset[str] = frozenset()
        self._until = float("-inf")

    async def of(self, resources: frozenset[str]) -> tuple[Node, ...] | None:
        """All nodes, with what pods have taken of these resources."""
        if not resources or not self._allowed:
            return None
        async with self._turn:
            if self._clock() >= self._until or not resources <= self._about:
                await self._read(resources)
            return self._nodes

    async def _read(self, resources: frozenset[str]) -> None:
        self._about = resources
        try:
            found = [node_of(obj) async for page in self._api.walk(NODE) for obj in page]
            having = [node.name for node in found if resources & node.has.keys()][:MOST_COUNTED]
            taken = {name: await self._taken(name) for name in having}
            self._nodes = tuple(Node(one.name, one.has, one.closed, taken.get(one.name)) for one in found)
            self._until = self._clock() + FRESH_SECONDS
        except ClusterError as error:
            log.warning("nodes cannot be read, GPUUnavailable goes without counts: %s", error)
            self._nodes, self._until = None, self._clock() + AFTER_TROUBLE_SECONDS

    async def _taken(self, name: str) -> Mapping[str, int]:
        taken: Counter[str] = Counter()
        async for page in self._api.walk(POD, f"spec.nodeName={name}"):
            for pod in page:
                taken.update(asked_for(pod))
        return taken


def node_of(obj: Object) -> Node:
    """A node, with what matters here."""
    status, spec = obj.get("status") or {}, obj.get("spec") or {}
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or ())
    closed = "cordoned" if spec.get("unschedulable") else "" if ready else "not ready"
    return Node(str(obj["metadata"]["name"]), extended(status.get("allocatable") or {}), closed)


def extended(resources: Mapping[str, Any]) -> dict[str, int]:
    """Counts of extended resources, whose names have a domain: whole numbers, says Kubernetes."""
    return {name: int(count) for name, count in resources.items() if "/" in name and str(count).isdigit()}


def asked_for(pod: Object) -> Counter[str]:
    """What a pod holds of extended resources: all its containers together, or its largest init step."""
    spec = pod.get("spec") or {}
    if (pod.get("status") or {}).get("phase") in ENDED:
        return Counter()
    held: Counter[str] = Counter()
    for container in spec.get("containers") or ():
        held.update(limits(container))
    for container in spec.get("initContainers") or ():
        held |= Counter(limits(container))
    return held


def limits(container: Object) -> dict[str, int]:
    return extended((container.get("resources") or {}).get("limits") or {})


def in_question(
    records: Iterable[RevisionRecord],
    pods: Iterable[Mapping[str, Any]],
    status: ModelDeploymentStatus,
    *,
    replaces: bool,
) -> frozenset[str]:
    """Accelerators that nodes are to be read for: pods wait for a node, or servers may have to make room.

    Where the spec `replaces`, a rollout may begin in this very turn and stop one.
    """
    rollout = status.rollout
    running = rollout is not None and rollout.phase in ACTIVE
    making_room = rollout.surge != Surge.SURGE if rollout and running else replaces
    if not making_room and not any(map(waits_for_a_node, pods)):
        return frozenset()
    wanted = (record.runtime.accelerator for record in records)
    return frozenset(accelerator.resource for accelerator in wanted if accelerator)


def waits_for_a_node(pod: Mapping[str, Any]) -> bool:
    return bool(words_of_scheduler(pod))


def words_of_scheduler(pod: Mapping[str, Any]) -> str:
    """Why no node takes a pod; empty: one does, or it was not looked at yet."""
    for one in (pod.get("status") or {}).get("conditions") or ():
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            return reasons(str(one.get("message") or ""))
    return ""


def lack(wanted: Accelerator, pods: Iterable[Mapping[str, Any]], failure: Failure | None) -> str:
    """The sentence that says that servers are missing for want of their accelerator; empty: it is not that.

    No node has it free, says the scheduler, or the namespace's quota of it is used up, says the API server.
    """
    name = re.escape(wanted.resource)
    insufficient = re.compile(rf"Insufficient {name}(?![\w/-]|\.\w)")
    if words := next((words for pod in pods if insufficient.search(words := words_of_scheduler(pod))), ""):
        return words
    used_up = (
        failure is not None and failure.reason == "QuotaExceeded" and f"requests.{wanted.resource}=" in failure.message
    )
    return failure.message if failure and used_up else ""
