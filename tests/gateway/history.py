"""All that was written in a namespace, in the order of the writes, and what of it bounds a rollout.

Watches of several kinds come in no order among each other; resourceVersions are etcd's revisions, which all kinds share.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.operating import GROUP, Site
from tests.control_plane.resources import Object

KINDS = ("modeldeployments", "deployments", "horizontalpodautoscalers", "endpointslices", "httproutes")
SERVICE = "kubernetes.io/service-name"


@dataclass
class Moment:
    """What there was after a write, by revision: pods asked for, ready endpoints, an autoscaler's bounds, percent."""

    status: Object = field(default_factory=dict)
    pods: dict[str, int] = field(default_factory=dict)
    ready: dict[str, int] = field(default_factory=dict)
    bounds: dict[str, tuple[int, int]] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)

    @property
    def live(self) -> int:
        """Servers of the stable version when the rollout began; 0: none runs."""
        return int(self.status.get("rollout", {}).get("live", 0))

    @property
    def phase(self) -> str:
        return str(self.status.get("rollout", {}).get("phase", ""))

    @property
    def stable(self) -> str:
        return str(self.status.get("stable", {}).get("revision", ""))

    @property
    def candidate(self) -> str:
        return str(self.status.get("candidate", {}).get("revision", ""))

    @property
    def weight(self) -> int:
        """Of the candidate, as the route has it."""
        return self.weights.get(self.candidate, 0)

    def shown(self) -> dict[str, Any]:
        """For people and JSON."""
        names = {self.stable: "stable", self.candidate: "candidate"}
        rows = {
            name: {names.get(one, one): value for one, value in getattr(self, name).items()}
            for name in ("pods", "ready", "bounds", "weights")
        }
        return {"live": self.live, "phase": self.phase, **rows}


class History:
    """Events as they came; `moments` puts them in order."""

    def __init__(self) -> None:
        self._events: list[tuple[str, Object]] = []

    def add(self, plural: str, event: Object) -> None:
        self._events.append((plural, event))

    def moments(self) -> Iterator[Moment]:
        """What there was after each write."""
        objects: dict[tuple[str, str], Object] = {}
        for plural, event in sorted(self._events, key=lambda one: int(one[1]["object"]["metadata"]["resourceVersion"])):
            found = event["object"]
            key = (plural, found["metadata"]["name"])
            if event["type"] == "DELETED":
                objects.pop(key, None)
            else:
                objects[key] = found
            yield moment(objects)


def moment(objects: dict[tuple[str, str], Object]) -> Moment:
    """What these objects say together."""
    found = Moment()
    for (plural, name), one in objects.items():
        revision = one["metadata"].get("labels", {}).get(f"{GROUP}/revision", "")
        if plural == "modeldeployments":
            found.status = one.get("status", {})
        elif plural == "deployments":
            found.pods[revision] = one["spec"]["replicas"]
        elif plural == "horizontalpodautoscalers":
            found.bounds[revision] = one["spec"]["minReplicas"], one["spec"]["maxReplicas"]
        elif plural == "endpointslices":
            served = one["metadata"].get("labels", {}).get(SERVICE, "").rpartition("-")[2]
            ready = sum(1 for row in one["endpoints"] or () if row["conditions"].get("ready"))
            found.ready[served] = found.ready.get(served, 0) + ready
        elif name == "fraud":
            last = one["spec"]["rules"][-1]["backendRefs"]  # the weighted rule
            found.weights = {row["name"].rpartition("-")[2]: row["weight"] for row in last}
    return found


@contextmanager
def recorded(site: Site) -> Iterator[History]:
    """From now, before anything is there, until the end."""
    history = History()
    watches = {plural: site.plane.client.watch(plural, site.namespace) for plural in KINDS}

    def follow(plural: str) -> None:
        for event in watches[plural]:
            history.add(plural, event)

    threads = [threading.Thread(target=follow, args=(plural,), daemon=True) for plural in KINDS]
    for one in threads:
        one.start()
    try:
        yield history
    finally:
        for watch in watches.values():
            watch.close()
        for one in threads:
            one.join(10)
