"""What the watches and our own answers have shown of the cluster: the only thing a reconcile reads from.

Levels, not events: each object is held in its newest form, as bytes of JSON without what nobody reads (2,000
deployments with six objects each: 34 MiB; as dictionaries 168).  News that is older than what is held, or of an object
that is known to be gone, changes nothing, whichever way it comes: a write's answer may overtake the watch, and the
watch may lag behind it.  Pods and EndpointSlices keep only what is observed of them.

`feed`, `put` and `prune` say which deployments their news is about; nothing new, nobody to wake.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from sys import intern
from typing import Any

import orjson

from tidegate.cluster.api import Key, Object, metadata
from tidegate.cluster.claims import Claims
from tidegate.plan.manifests.identity import ENDPOINTS, LABEL_DEPLOYMENT, MODEL_DEPLOYMENT, POD, Kind

SERVICE_NAME = "kubernetes.io/service-name"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
POD_METADATA = ("name", "namespace", "uid", "resourceVersion", "labels", "creationTimestamp", "deletionTimestamp")
REMEMBERED_DELETIONS = 4096

Keys = tuple[Key, ...]
NOBODY: Keys = ()


@dataclass(frozen=True, slots=True)
class Held:
    uid: str
    version: int
    owner: Key | None
    content: bytes


def nobody_looks(key: Key) -> None:
    """For a cache that nobody shows."""


class Cache:
    """Objects by kind, namespace and name, and by the deployment they belong to.

    `shown` is called with each deployment that looks different now, whoever it was heard from.
    """

    def __init__(self, shown: Callable[[Key], None] = nobody_looks) -> None:
        self._shown = shown
        self._held: dict[Kind, dict[Key, Held]] = {}
        self._owned: dict[Kind, dict[Key, tuple[str, ...]]] = {}  # of a deployment: names of its objects
        self._gone: OrderedDict[tuple[Kind, Key], tuple[str, int]] = OrderedDict()
        self.claims = Claims()

    def feed(self, kind: Kind, event_type: str | None, obj: Mapping[str, Any]) -> Keys:
        """News from a watch: ADDED, MODIFIED or DELETED, or None from a list; the deployments it is about."""
        return self._forget(kind, obj) if event_type == "DELETED" else self.put(kind, obj)

    def put(self, kind: Kind, obj: Mapping[str, Any]) -> Keys:
        """Hold the object if it is newer than what is held: from a watch, a read, or the answer to a write of ours."""
        key, uid, version = identity(obj)
        held = self._held.setdefault(kind, {}).get(key)
        if held and version <= held.version:
            return NOBODY
        gone_uid, gone_version = self._gone.get((kind, key), ("", -1))
        if version <= gone_version:
            return NOBODY
        if gone_uid != uid:
            self._gone.pop((kind, key), None)
        owner = key_of(kind, obj)
        self._index(kind, key[1], held.owner if held else None, owner)
        self._held[kind][key] = Held(uid, version, owner, packed(reduced(kind, obj)))
        self.claims.put(kind, key, obj)
        about = distinct(held.owner if held else None, owner)
        for one in about:
            self._shown(one)
        return about

    def scaled(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        """Remember a number of pods that we have asked for: nobody asks again before the watch shows it.

        The version stays what it is, so that the watch has the last word.
        """
        held = self._held.get(kind, {}).get((namespace, name))
        if held:
            obj = orjson.loads(held.content)
            obj["spec"]["replicas"] = replicas
            self._held[kind][namespace, name] = replace(held, content=packed(obj))

    def drop(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Forget an object that we have deleted; it is back if the watch shows it again, say with a finalizer."""
        held = self._held.get(kind, {}).get((namespace, name))
        if held and held.uid == uid:
            self._remove(kind, (namespace, name), held.version)

    def prune(self, kind: Kind, namespace: str | None, there: Collection[Key], version: int) -> Keys:
        """Forget what a complete list of that version did not show: its deletion was never watched."""
        lost = [
            key
            for key, held in self._held.get(kind, {}).items()
            if key not in there and namespace in (None, key[0]) and held.version <= version
        ]
        owners = [self._remove(kind, key, version) for key in lost]
        return distinct(*owners)

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        held = self._held.get(kind, {}).get((namespace, name))
        return orjson.loads(held.content) if held else None

    def of(self, namespace: str, deployment: str) -> list[tuple[Kind, Object]]:
        """Everything that carries a deployment's label, with its kind; not the deployment itself."""
        kinds = [kind for kind in self._owned if kind != MODEL_DEPLOYMENT]
        return [(kind, obj) for kind in kinds for obj in self.of_kind(kind, namespace, deployment)]

    def of_kind(self, kind: Kind, namespace: str, deployment: str) -> list[Object]:
        """The objects of one kind that carry a deployment's label, by name."""
        names = self._owned.get(kind, {}).get((namespace, deployment), ())
        return [orjson.loads(self._held[kind][namespace, name].content) for name in sorted(names)]

    def knows(self, key: Key) -> bool:
        """Whether there is such a deployment."""
        return key in self._held.get(MODEL_DEPLOYMENT, {})

    def deployments(self) -> list[Key]:
        return list(self._held.get(MODEL_DEPLOYMENT, {}))

    def sizes(self) -> Iterator[tuple[Kind, int, int]]:
        """Kind, objects, bytes: for the metrics."""
        for kind, objects in self._held.items():
            yield kind, len(objects), sum(len(held.content) for held in objects.values())

    def _forget(self, kind: Kind, obj: Mapping[str, Any]) -> Keys:
        key, uid, version = identity(obj)
        held = self._held.get(kind, {}).get(key)
        if held and (held.uid == uid or version > held.version):
            # What is held may be younger than the event says: no object comes back under its uid.
            return distinct(self._remove(kind, key, max(version, held.version)))
        if held is None:
            self._bury(kind, key, uid, version)
        return NOBODY

    def _remove(self, kind: Kind, key: Key, version: int) -> Key | None:
        held = self._held[kind].pop(key)
        self.claims.drop(kind, key)
        self._index(kind, key[1], held.owner, None)
        self._bury(kind, key, held.uid, version)
        if held.owner:
            self._shown(held.owner)
        return held.owner

    def _bury(self, kind: Kind, key: Key, uid: str, version: int) -> None:
        """Remember a deletion for a while: an answer or an event from before it may still be on its way."""
        if version < self._gone.get((kind, key), ("", -1))[1]:
            return
        self._gone[kind, key] = (uid, version)
        self._gone.move_to_end((kind, key))
        if len(self._gone) > REMEMBERED_DELETIONS:
            self._gone.popitem(last=False)

    def _index(self, kind: Kind, name: str, before: Key | None, after: Key | None) -> None:
        if before == after:
            return
        owned = self._owned.setdefault(kind, {})
        if before:
            left = tuple(one for one in owned.get(before, ()) if one != name)
            if left:
                owned[before] = left
            else:
                owned.pop(before, None)
        if after:
            owned[after] = (*owned.get(after, ()), name)


def key_of(kind: Kind, obj: Mapping[str, Any]) -> Key | None:
    """The deployment that news of an object is about: itself, or the one in its label."""
    about = metadata(obj)
    name = about.get("name") if kind == MODEL_DEPLOYMENT else (about.get("labels") or {}).get(LABEL_DEPLOYMENT)
    return (intern(str(about.get("namespace") or "")), intern(str(name))) if name else None


def identity(obj: Mapping[str, Any]) -> tuple[Key, str, int]:
    about = metadata(obj)
    key = (intern(str(about.get("namespace") or "")), intern(str(about["name"])))
    return key, str(about.get("uid") or ""), version_of(about)


def version_of(about: Mapping[str, Any]) -> int:
    """Resource versions are decimal numbers that grow (Kubernetes 1.35 promises it; every server before did so)."""
    found = str(about.get("resourceVersion") or "")
    return int(found) if found.isascii() and found.isdigit() else 0


def distinct(*owners: Key | None) -> Keys:
    return tuple(dict.fromkeys(owner for owner in owners if owner))


def reduced(kind: Kind, obj: Mapping[str, Any]) -> Object:
    """The object without what nobody reads here; half of a Deployment is managedFields."""
    about = metadata(obj)
    if kind == POD:
        kept = {name: about[name] for name in POD_METADATA if name in about}
        node = (obj.get("spec") or {}).get("nodeName")
        spec = {"nodeName": node} if node else {}
        return {**head(kind), "metadata": kept, "spec": spec, "status": obj.get("status") or {}}
    if kind == ENDPOINTS:
        return endpoints(obj)
    kept = {name: value for name, value in about.items() if name != "managedFields"}
    if LAST_APPLIED in (kept.get("annotations") or {}):
        kept["annotations"] = {name: value for name, value in kept["annotations"].items() if name != LAST_APPLIED}
    return {**head(kind), **obj, "metadata": kept}


def endpoints(obj: Mapping[str, Any]) -> Object:
    """Of an EndpointSlice the Service it is of, and which pods that leads to."""
    ready = [one for one in obj.get("endpoints") or () if (one.get("conditions") or {}).get("ready") is not False]
    return {
        **head(ENDPOINTS),
        "metadata": {name: metadata(obj).get(name) for name in ("name", "namespace")},
        "service": (metadata(obj).get("labels") or {}).get(SERVICE_NAME, ""),
        "ready": sorted(str((one.get("targetRef") or {}).get("name") or one.get("addresses")) for one in ready),
    }


def packed(obj: Object) -> bytes:
    # A copy: orjson's own bytes keep the room that they were written in, three times what they need.
    return bytes(memoryview(orjson.dumps(obj)))


def head(kind: Kind) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.kind}
