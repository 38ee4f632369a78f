"""What the cluster's nodes have of accelerators: read when pods wait for some, or are about to take others' places.

Not watched: most clusters never need it, and a large one has megabytes of nodes.  It takes one right, to list nodes;
where that is not given, or the operator may look into its namespaces only, sentences go without these counts, and
`surge` is decided by the scheduler's own word alone.  Trouble of the moment is another thing: until nodes can be read
again, no server is stopped.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tidegate.api.runtime import Accelerator
from tidegate.api.status import ModelDeploymentStatus
from tidegate.cluster.api import Object, Objects
from tidegate.cluster.errors import ClusterError, Forbidden
from tidegate.cluster.failures import reasons
from tidegate.plan.accelerators import Node, Nodes
from tidegate.plan.manifests.identity import POD, Kind
from tidegate.plan.observed import Failure, RevisionRecord
from tidegate.plan.phases import ACTIVE, Surge

NODE = Kind("v1", "Node", "nodes")
FRESH_SECONDS = 1.0
WITHOUT_RIGHT_SECONDS = 300.0  # until it is asked again whether we may
MOST_COUNTED = 32  # nodes whose pods are read: one request each
ENDED = ("Succeeded", "Failed")

log = logging.getLogger(__name__)


class Walks(Protocol):
    """Who reads a collection page by page, as `Kube.walk` does."""

    def walk(self, kind: Kind, fields: str = "") -> AsyncIterator[Objects]: ...


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen of the nodes."""

    nodes: Nodes = None
    trouble: bool = False  # there is nothing to see just now, though we may look


NO_SIGHT = Sight()


class NodeReader:
    """The nodes as of a few seconds ago, for all deployments."""

    def __init__(self, api: Walks, *, allowed: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._allowed = allowed
        self._clock = clock
        self._turn = asyncio.Lock()
        self._sight = NO_SIGHT
        self._about: frozenset[str] = frozenset()
        self._until = float("-inf")

    async def of(self, resources: frozenset[str]) -> Sight:
        """All nodes, with what pods have taken of these resources."""
        if not resources or not self._allowed:
            return NO_SIGHT
        async with self._turn:
            old = self._clock() >= self._until
            if old or (self._sight.nodes is not None and not resources <= self._about):
                # Of two that ask in turns neither takes the other's answer away.
                await self._look(resources if old else resources | self._about)
            return self._sight

    async def _look(self, resources: frozenset[str]) -> None:
        try:
            self._sight = Sight(await self._read(resources))
            self._about, self._until = resources, self._clock() + FRESH_SECONDS
        except Forbidden as error:
            log.warning("nodes may not be read, GPUUnavailable goes without counts: %s", error)
            self._sight, self._until = NO_SIGHT, self._clock() + WITHOUT_RIGHT_SECONDS
        except ClusterError as error:
            log.warning("nodes cannot be read now, no server is stopped for another version: %s", error)
            self._sight, self._until = Sight(trouble=True), self._clock() + FRESH_SECONDS

    async def _read(self, resources: frozenset[str]) -> tuple[Node, ...]:
        found = [node_of(obj) async for page in self._api.walk(NODE) for obj in page]
        having = [node.name for node in found if resources & node.has.keys()][:MOST_COUNTED]
        taken = {name: await self._taken(name) for name in having}
        return tuple(Node(one.name, one.has, one.closed, taken.get(one.name)) for one in found)

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
    """What a pod holds of extended resources: all its containers together, or its largest init step.

    Sidecars are init containers that stay: they count beside the steps after them, and beside the containers.
    """
    spec = pod.get("spec") or {}
    if (pod.get("status") or {}).get("phase") in ENDED:
        return Counter()
    sidecars, largest, held = Counter[str](), Counter[str](), Counter[str]()
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            sidecars.update(limits(container))
        else:
            largest |= sidecars + Counter(limits(container))
    for container in spec.get("containers") or ():
        held.update(limits(container))
    return largest | (held + sidecars)


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
