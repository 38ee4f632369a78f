"""ModelDeployments as a person finds them: one by name, or all of a namespace, with their pods."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate.cluster.api import path
from tidegate.cluster.errors import ClusterError, Forbidden, NotFound
from tidegate.cluster.kubectl.changes import Changes
from tidegate.cluster.kubectl.connection import Connection, CrdMissing, Object
from tidegate.plan.commands import asked_by, new_commands
from tidegate.plan.manifests.identity import CONFIG_MAP, LABEL_DEPLOYMENT, LABEL_REVISION, MODEL_DEPLOYMENT, POD
from tidegate.plan.told import course_name, lines_in

PAGE = "500"
NEAREST = 3
LISTED = 10


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace (None: all of them) of a cluster."""

    connection: Connection = field(compare=False)
    namespace: str | None

    def __str__(self) -> str:
        context = self.connection.context
        scope = f"namespace {self.namespace}" if self.namespace else "all namespaces"
        return f"{scope} of context {context.name} ({context.server})"

    def changes(self, name: str = "", *, longest: float) -> Changes:
        """News of one deployment, or of all; `longest`: seconds after which to look even without any."""
        return Changes(self.connection, self.namespace, name, longest)

    def deployments(self) -> list[Object]:
        """All of them, by namespace and name."""
        return listed(self.connection, path(MODEL_DEPLOYMENT, self.namespace), {})

    def deployment(self, name: str) -> Object:
        """The one of that name; raises NotFound with the names that are like it."""
        try:
            return self.connection.get(path(MODEL_DEPLOYMENT, self.namespace, name))
        except CrdMissing:
            raise
        except NotFound:
            raise NotFound(f"there is no ModelDeployment {name}", where=str(self), do=self._instead(name)) from None

    def _instead(self, name: str) -> str:
        try:
            names = [str(one["metadata"]["name"]) for one in self.deployments()]
        except ClusterError:  # a right to get one is none to list all
            return "name another, or its namespace with -n"
        near = difflib.get_close_matches(name, names, NEAREST)
        if near:
            return f"did you mean {' or '.join(near)}?"
        known = ", ".join(names[:LISTED]) + (" …" if len(names) > LISTED else "")
        return f"there are: {known}" if names else "there is none here: name its namespace with -n"

    def course(self, name: str) -> list[str]:
        """The rows that the operator keeps of its rollouts, as lines of JSON; raises Forbidden."""
        try:
            return lines_in(self.connection.get(path(CONFIG_MAP, self.namespace, course_name(name))))
        except NotFound:
            return []

    def pods(self, name: str) -> list[Object]:
        """The servers' pods of a deployment; raises Forbidden where a person may not list pods."""
        selector = f"{LABEL_DEPLOYMENT}={name},{LABEL_REVISION}"
        return listed(self.connection, path(POD, self.namespace), {"labelSelector": selector})


def listed(connection: Connection, where: str, query: Mapping[str, str]) -> list[Object]:
    """A collection, page by page."""
    found: list[Object] = []
    more = ""
    while True:
        paged = {**query, "limit": PAGE} | ({"continue": more} if more else {})
        page = connection.get(where, **paged)
        found += page.get("items") or []
        more = str((page.get("metadata") or {}).get("continue") or "")
        if not more:
            return found


def document(place: Place, found: Mapping[str, Any], pods: list[Object] | None) -> Object:
    """One deployment as JSON shows it; without `pods` where they were not looked for, or may not be listed."""
    meta, status = found["metadata"], found.get("status") or {}
    shown: Object = {
        "name": meta["name"],
        "target": "cluster",
        "context": place.connection.context.name,
        "namespace": meta["namespace"],
        "createdAt": meta["creationTimestamp"],
        "url": status.get("url", ""),
        "steps": ((found.get("spec") or {}).get("rollout") or {}).get("steps") or [],
        "waiting": new_commands(asked_of(found), status.get("commands") or {}),
        "status": dict(status),
    }
    return shown if pods is None else {**shown, "pods": [pod_document(pod) for pod in pods]}


def asked_of(found: Mapping[str, Any]) -> dict[str, str]:
    """What people ask for, by verb."""
    return asked_by(found["metadata"].get("annotations") or {})


def whole_document(place: Place, name: str) -> Object:
    """One deployment with its pods, where a person may list those."""
    found = place.deployment(name)
    try:
        return document(place, found, place.pods(name))
    except Forbidden as refused:
        return {**document(place, found, None), "podsRefused": f"{refused.what}: {refused.do}"}


def pod_document(pod: Mapping[str, Any]) -> Object:
    meta, status = pod["metadata"], pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    all_of_them = len((pod.get("spec") or {}).get("containers") or containers)
    return {
        "name": meta["name"],
        "revision": (meta.get("labels") or {}).get(LABEL_REVISION, ""),
        "status": pod_word(pod),
        "ready": f"{sum(bool(one.get('ready')) for one in containers)}/{all_of_them}",
        "restarts": sum(int(one.get("restartCount") or 0) for one in containers),
        "node": (pod.get("spec") or {}).get("nodeName", ""),
        "createdAt": meta["creationTimestamp"],
    }


def pod_word(pod: Mapping[str, Any]) -> str:
    """What `kubectl get pods` says in its column STATUS."""
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    steps = [("Init:", one) for one in status.get("initContainerStatuses") or []]
    for prefix, container in [*steps, *(("", one) for one in status.get("containerStatuses") or [])]:
        state = container.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
        if reason := waiting.get("reason") if waiting.get("reason") != "PodInitializing" else "":
            return f"{prefix}{reason}"
        if ended.get("exitCode"):
            return f"{prefix}{ended.get('reason') or 'Error'}"
    unschedulable = any(one.get("reason") == "Unschedulable" for one in status.get("conditions") or ())
    return "Unschedulable" if unschedulable else str(status.get("reason") or status.get("phase") or "Unknown")
