"""The garbage collector: what goes when its owner has gone, and what stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fields import Object

if TYPE_CHECKING:
    from .cluster import FakeCluster

FOREGROUND = "foregroundDeletion"
MANAGER = "kube-controller-manager"


def collect(cluster: FakeCluster) -> None:
    """One level at a time, as the real one: what the deleted own goes in the next pass."""
    uids = frozenset(cluster.objects.uids)
    for kind in cluster.objects.kinds():
        for obj in list(cluster.objects.all(kind)):
            owners = [one["uid"] for one in obj["metadata"].get("ownerReferences") or ()]
            if owners and not uids & set(owners):
                cluster.delete(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
            elif not set(owners) <= uids:
                _keep_owners(cluster, obj, uids)
            elif FOREGROUND in obj["metadata"].get("finalizers", ()):
                _finish(cluster, obj)


def orphan(cluster: FakeCluster, uid: str) -> None:
    """Its dependents forget the owner."""
    for kind in cluster.objects.kinds():
        for obj in list(cluster.objects.all(kind)):
            if any(one["uid"] == uid for one in obj["metadata"].get("ownerReferences") or ()):
                _keep_owners(cluster, obj, cluster.objects.uids - {uid})


def _keep_owners(cluster: FakeCluster, obj: Object, uids: frozenset[str] | set[str]) -> None:
    kept = [one for one in obj["metadata"]["ownerReferences"] if one["uid"] in uids]
    metadata = {name: value for name, value in obj["metadata"].items() if name != "ownerReferences"}
    cluster.replace({**obj, "metadata": metadata | ({"ownerReferences": kept} if kept else {})}, MANAGER)


def _finish(cluster: FakeCluster, owner: Object) -> None:
    """A foreground deletion ends when nothing is left that blocks it."""
    blocking = False
    for kind in cluster.objects.kinds():
        for obj in list(cluster.objects.all(kind)):
            for reference in obj["metadata"].get("ownerReferences") or ():
                if reference["uid"] == owner["metadata"]["uid"]:
                    blocking |= bool(reference.get("blockOwnerDeletion"))
                    cluster.delete(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
    if not blocking:
        left = [one for one in owner["metadata"]["finalizers"] if one != FOREGROUND]
        cluster.replace({**owner, "metadata": {**owner["metadata"], "finalizers": left}}, MANAGER)
