"""Argo CD and Flux as a cluster sees them: who applies the manifest of Git, with which marks, and what they call a difference."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.operating import Site
from tests.control_plane.client import APPLY
from tests.control_plane.resources import RESOURCES, Object, resource_of

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
SYSTEM = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation")


@dataclass(frozen=True)
class Tool:
    """A tool that keeps the cluster as Git says; its marks are how it knows its objects again, and what it prunes by."""

    manager: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def desired(self, manifest: Object) -> Object:
        """The manifest of Git as the tool applies it."""
        meta = manifest["metadata"]
        labels = {**meta.get("labels", {}), **self.labels}
        annotations = {**meta.get("annotations", {}), **self.annotations}
        return {**manifest, "metadata": {**meta, "labels": labels, "annotations": annotations}}

    def sync(self, site: Site, manifest: Object) -> Object:
        """Server-side apply, conflicts overruled."""
        return site.plane.client.apply(self.desired(manifest), self.manager, force=True)

    def difference(self, site: Site, manifest: Object) -> list[str]:
        """Where a dry run of the same apply would change something: what makes an application OutOfSync, or drift."""
        meta = manifest["metadata"]
        path = resource_of(manifest).path(meta["namespace"], meta["name"])
        query = {"fieldManager": self.manager, "force": "true", "dryRun": "All"}
        wanted = site.plane.client.request("PATCH", path, self.desired(manifest), query=query, form=APPLY)
        return differences(own(site.get()), own(wanted))

    def prunes(self, site: Site) -> list[str]:
        """Whatever in the namespace bears one of the tool's marks: that is what Git must name, or it goes."""
        return [f"{obj['kind']} {obj['metadata']['name']}" for obj in everything(site) if self._marked(obj)]

    def _marked(self, obj: Object) -> bool:
        marks = {**(obj["metadata"].get("labels") or {}), **(obj["metadata"].get("annotations") or {})}
        return bool(marks.keys() & {*self.labels, *self.annotations})


class ClientSide(Tool):
    """`kubectl apply` without --server-side, as Argo CD syncs by itself: a merge of three, with the last manifest kept."""

    def desired(self, manifest: Object) -> Object:
        whole = super().desired(manifest)
        annotations = {**whole["metadata"]["annotations"], LAST_APPLIED: json.dumps(whole)}
        return {**whole, "metadata": {**whole["metadata"], "annotations": annotations}}

    def sync(self, site: Site, manifest: Object) -> Object:
        live = site.plane.client.get("modeldeployments", site.namespace, site.name)
        if live is None:
            return site.plane.client.create(self.desired(manifest), self.manager)
        return site.plane.client.patch("modeldeployments", site.namespace, site.name, self._patch(live, manifest))

    def difference(self, site: Site, manifest: Object) -> list[str]:
        live = site.get()
        return differences(own(live), own(merged(live, self._patch(live, manifest))))

    def _patch(self, live: Object, manifest: Object) -> Any:
        before = json.loads(live["metadata"]["annotations"][LAST_APPLIED])
        return patch_to(before, self.desired(manifest))


def patch_to(before: Any, after: Any) -> Any:
    """All of this manifest, and a null for whatever the last one had and this one has not: a JSON merge patch."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return after
    gone = {name: None for name in before if name not in after}
    return {**gone, **{name: patch_to(before.get(name), part) for name, part in after.items()}}


def merged(live: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7396) on an object."""
    if not isinstance(patch, dict):
        return patch
    found = dict(live) if isinstance(live, dict) else {}
    for name, part in patch.items():
        if part is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), part)
    return found


def own(obj: Object) -> Object:
    """What a manifest can say: without the status, and without what the API server writes into the metadata."""
    meta = {name: part for name, part in obj["metadata"].items() if name not in SYSTEM}
    return {**{name: part for name, part in obj.items() if name != "status"}, "metadata": meta}


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """The places at which two objects differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = [*old, *(name for name in new if name not in old)]
        return [at for name in names for at in differences(old.get(name), new.get(name), f"{path}.{name}")]
    return [] if old == new else [f"{path}: {old} -> {new}"]


def everything(site: Site) -> Iterator[Object]:
    """All objects of a namespace."""
    for row in RESOURCES:
        if row.namespaced and row.api_version != "events.k8s.io/v1":
            found = site.plane.client.request("GET", row.path(site.namespace))
            yield from ({"kind": row.kind, **obj} for obj in found["items"])


ARGO_CD_MARKS: dict[str, Mapping[str, str]] = {
    "labels": {"app.kubernetes.io/instance": "shop"},
    "annotations": {"argocd.argoproj.io/tracking-id": "shop:serving.tidegate.io/ModelDeployment:shop/fraud"},
}
ARGO_CD = Tool("argocd-controller", **ARGO_CD_MARKS)
ARGO_CD_CLIENT_SIDE = ClientSide("argocd-controller", **ARGO_CD_MARKS)
FLUX = Tool(
    "kustomize-controller",
    labels={"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"},
    annotations={"kustomize.toolkit.fluxcd.io/prune": "enabled"},
)
TOOLS = {"argo-cd": ARGO_CD, "argo-cd-client-side": ARGO_CD_CLIENT_SIDE, "flux": FLUX}
