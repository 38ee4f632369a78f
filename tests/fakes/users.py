"""Everybody but the operator: people with kubectl, GitOps tools, and whoever else writes into the cluster.

Nothing here fails for a fault of the network; what a server refuses (a bad spec, a taken name) is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tidegate.plan.manifests.identity import MODEL_DEPLOYMENT, POD, Kind

from .cluster import FakeCluster
from .fields import Object
from .kinds import kind_of

Change = Callable[[Object], object]
KUBECTL = "kubectl-edit"


class Users:
    """Plain calls; each is one write."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    def create(self, obj: Mapping[str, Any]) -> Object:
        return self._cluster.create(obj, "kubectl-create")

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        found = self._cluster.find(kind, namespace, name)
        assert found is not None, f"there is no {kind.kind} {namespace}/{name}"
        return found

    def edit(self, kind: Kind, namespace: str, name: str, change: Change, manager: str = KUBECTL) -> Object:
        """Change the object in place (not its status) and put it back."""
        obj = self.get(kind, namespace, name)
        change(obj)
        return self._cluster.replace(obj, manager)

    def set_status(self, kind: Kind, namespace: str, name: str, status: Mapping[str, Any]) -> Object:
        return self._cluster.replace({**self.get(kind, namespace, name), "status": status}, "controller", "status")

    def apply(self, obj: Mapping[str, Any], manager: str = "kubectl", *, force: bool = False) -> Object:
        return self._cluster.apply(obj, manager, force=force)

    def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        self._cluster.scale(kind, namespace, name, replicas, "kubectl")

    def delete(self, kind: Kind, namespace: str, name: str, cascade: str = "background") -> None:
        """Delete; `cascade` is background, foreground or orphan."""
        self._cluster.delete(kind, namespace, name, cascade=cascade)

    # -- words of stories ---------------------------------------------------------------------------

    def deploy(self, name: str, spec: Mapping[str, Any], namespace: str = "default") -> Object:
        """Apply a ModelDeployment's manifest: made, or its spec replaced."""
        if self._cluster.find(MODEL_DEPLOYMENT, namespace, name) is None:
            return self.create(_manifest(name, spec, namespace))
        return self.edit(MODEL_DEPLOYMENT, namespace, name, lambda obj: obj.update(spec=dict(spec)))

    def annotate(self, obj: Object, annotations: Mapping[str, str | None]) -> Object:
        """Set annotations, or take those away that are None."""
        return self._change(obj, "annotations", annotations)

    def label(self, obj: Object, labels: Mapping[str, str | None]) -> Object:
        return self._change(obj, "labels", labels)

    def _change(self, obj: Object, field: str, wanted: Mapping[str, str | None]) -> Object:
        place = obj["metadata"]["namespace"], obj["metadata"]["name"]
        return self.edit(kind_of(obj), *place, lambda live: _set(live, field, wanted))

    def evict(self, namespace: str, labels: str) -> None:
        """A drained node: all these pods end."""
        for pod in self._cluster.listed(POD, namespace, labels):
            self.delete(POD, namespace, pod["metadata"]["name"])

    def end_namespace(self, namespace: str) -> None:
        """Nothing new can be made there, and what is there goes."""
        self._cluster.ending_namespaces.add(namespace)
        for kind in self._cluster.objects.kinds():
            for obj in list(self._cluster.objects.all(kind, namespace)):
                self._cluster.delete(kind, namespace, obj["metadata"]["name"])


def _manifest(name: str, spec: Mapping[str, Any], namespace: str) -> Object:
    identity = {"apiVersion": MODEL_DEPLOYMENT.api_version, "kind": MODEL_DEPLOYMENT.kind}
    return {**identity, "metadata": {"name": name, "namespace": namespace}, "spec": dict(spec)}


def _set(obj: Object, field: str, wanted: Mapping[str, str | None]) -> None:
    now = dict(obj["metadata"].get(field) or {})
    for name, value in wanted.items():
        now.pop(name, None)
        if value is not None:
            now[name] = value
    obj["metadata"][field] = now
