"""A Kubernetes API in memory, without clients' troubles: create, put, apply, scale, delete, and watches.

`FakeApi` (apiserver.py) is the operator's way in, with every fault a network has; users (users.py) and controllers
(controllers.py) come in here, where nothing fails that a real server would take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tidegate.cluster.errors import (
    AlreadyExists,
    Conflict,
    NamespaceTerminating,
    NotFound,
    Refused,
)
from tidegate.plan.manifests.identity import MODEL_DEPLOYMENT, Kind

from . import custom
from .clock import Clock, stamp
from .collecting import FOREGROUND, collect, orphan
from .defaults import generated, with_defaults
from .fields import Object
from .kinds import TRAITS, kind_of, traits
from .objects import Held, Objects, copied, key_of
from .ownership import Clash, Owner, Owners, after_apply, after_create, after_update, managed_fields
from .selectors import selector
from .validation import objections
from .watching import Callback, Listed, Watch

# Sees every object on its way in; may change it (a sidecar) or raise (a quota, a policy). CREATE or UPDATE.
Admission = Callable[[str, Object], object]
SERVICE_NETWORK = "10.96"
WHOLE = ""  # not a subresource


class FakeCluster:
    """All objects of a cluster and the rules by which a server changes them."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.admission: list[Admission] = []
        self.absent_namespaces: set[str] = set()
        self.ending_namespaces: set[str] = set()
        self.absent_kinds: set[Kind] = set()  # their CRD is gone
        self.objects = Objects(self._tell)
        self._watches: list[Watch] = []
        self._made = 0

    # -- reading ----------------------------------------------------------------------------------

    def find(self, kind: Kind, namespace: str, name: str, at: int | None = None) -> Object | None:
        return self.objects.find(kind, namespace, name, at)

    def listed(self, kind: Kind, namespace: str | None = None, labels: str = "", at: int | None = None) -> list[Object]:
        return self.objects.matching(kind, selector(labels), namespace, at)

    def subscribe(
        self,
        callback: Callback,
        selectors: Mapping[Kind, str] | None = None,
        *,
        listing: bool = True,
        after_list: Listed | None = None,
    ) -> Watch:
        """Watch the kinds named, each by its label selector (None: all kinds, everything), after a list of each."""
        wanted = selectors if selectors is not None else dict.fromkeys(TRAITS, "")
        watch = Watch(callback, {kind: selector(text) for kind, text in wanted.items()}, self.objects)
        watch.after_list = after_list
        self._watches.append(watch)
        if listing:
            watch.relist()
        return watch

    def _tell(self, kind: Kind, old: bytes | None, new: bytes | None, version: str) -> None:
        self._watches = [watch for watch in self._watches if watch.open]
        for watch in self._watches:
            watch.tell(kind, old, new, version)

    # -- writing ------------------------------------------------------------------------------------

    def create(self, wanted: Mapping[str, Any], manager: str, operation: str = "Update") -> Object:
        """POST."""
        sent = copied(dict(wanted))
        kind = kind_of(sent)
        self._check_place(kind, sent)
        obj = self._stamped(kind, sent)
        obj = self._completed(kind, self._admitted("CREATE", obj), None)
        if self.objects.held(kind, *key_of(obj)):
            raise AlreadyExists(f'{kind.plural} "{key_of(obj)[1]}" already exists')
        owner = Owner(manager, operation)
        held = Held(b"", after_create(sent, obj, owner, generated(obj)), {owner: self._now()})
        return self._put(kind, obj, None, held)

    def replace(self, wanted: Mapping[str, Any], manager: str, part: str = WHOLE) -> Object:
        """PUT of the object or of its status; each leaves the other alone."""
        sent = copied(dict(wanted))
        kind = kind_of(sent)
        held, old = self._there(kind, *key_of(sent))
        self._check_version(kind, sent, old, needed=not traits(kind).unconditional)
        if part == "status":
            return self._write(kind, held, {**old, "status": sent.get("status") or {}}, held.owners, status=True)
        new = self._admitted("UPDATE", self._with_system_parts(kind, sent, old))
        new = self._completed(kind, new, old)
        owners = after_update(held.owners, old, new, Owner(manager, "Update"))
        return self._write(kind, held, new, owners)

    def apply(self, wanted: Mapping[str, Any], manager: str, *, force: bool) -> Object:
        """Server-side apply."""
        sent = copied(dict(wanted))
        kind = kind_of(sent)
        held = self.objects.held(kind, *key_of(sent))
        if held is None:
            if sent["metadata"].get("uid") or sent["metadata"].get("resourceVersion"):
                raise Conflict(f'{kind.plural} "{key_of(sent)[1]}": uid mismatch: the object is gone')
            return self.create(sent, manager, "Apply")
        old = held.obj
        if sent["metadata"].get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
            raise Conflict("metadata.uid: Invalid value: field is immutable")
        self._check_version(kind, sent, old, needed=False)
        try:
            new, owners = after_apply(old, held.owners, sent, manager, force=force)
        except Clash as clash:
            raise Conflict(str(clash)) from None
        new = self._completed(kind, self._admitted("UPDATE", copied(new)), old)
        return self._write(kind, held, new, owners)

    def scale(self, kind: Kind, namespace: str, name: str, replicas: int, manager: str) -> None:
        """PATCH of the scale subresource."""
        held, old = self._there(kind, namespace, name)
        if replicas < 0:
            raise Refused("spec.replicas: Invalid value: must be greater than or equal to 0")
        new = {**old, "spec": {**old["spec"], "replicas": replicas}}
        self._write(kind, held, new, after_update(held.owners, old, new, Owner(manager, "Update", "scale")))

    def delete(self, kind: Kind, namespace: str, name: str, uid: str = "", cascade: str = "background") -> None:
        """DELETE with a uid precondition; what the object owns goes later, by `collect`."""
        held, obj = self._there(kind, namespace, name)
        if uid and obj["metadata"]["uid"] != uid:
            raise Conflict(f"Precondition failed: UID in precondition: {uid}, in object meta: {obj['metadata']['uid']}")
        if cascade == "orphan":
            orphan(self, obj["metadata"]["uid"])
        if cascade == "foreground":
            obj["metadata"].setdefault("finalizers", []).append(FOREGROUND)
        grace = (
            obj["spec"]["terminationGracePeriodSeconds"] if traits(kind).graceful and obj["spec"].get("nodeName") else 0
        )
        if grace or obj["metadata"].get("finalizers"):
            self._end_later(kind, held, obj, grace)
        else:
            self.objects.remove(kind, obj)

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """The last step of a graceful deletion."""
        self.objects.remove(kind, self._there(kind, namespace, name)[1])

    def collect(self) -> None:
        """One pass of the garbage collector: whatever no living owner holds is deleted."""
        collect(self)

    # -- how ----------------------------------------------------------------------------------------

    def _now(self) -> str:
        return stamp(self.clock.now())

    def _there(self, kind: Kind, namespace: str, name: str) -> tuple[Held, Object]:
        held = self.objects.held(kind, namespace, name)
        if held is None or kind in self.absent_kinds:
            raise NotFound(f'{kind.plural} "{name}" not found')
        return held, held.obj

    def _check_place(self, kind: Kind, obj: Object) -> None:
        namespace = key_of(obj)[0]
        if kind in self.absent_kinds:
            raise NotFound("the server could not find the requested resource")
        if namespace in self.absent_namespaces:
            raise NotFound(f'namespaces "{namespace}" not found')
        if namespace in self.ending_namespaces:
            what = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise NamespaceTerminating(what)

    def _check_version(self, kind: Kind, sent: Object, old: Object, *, needed: bool) -> None:
        there, named = old["metadata"], sent["metadata"]
        if named.get("uid") and named["uid"] != there["uid"]:
            raise Conflict(f"Precondition failed: UID in precondition: {named['uid']}, in object meta: {there['uid']}")
        version = named.get("resourceVersion")
        if not version and needed:
            raise Refused("metadata.resourceVersion: Invalid value: 0x0: must be specified for an update")
        if version and version != there["resourceVersion"]:
            what = f'Operation cannot be fulfilled on {kind.plural} "{there["name"]}": the object has been modified'
            raise Conflict(f"{what}; please apply your changes to the latest version and try again")

    def _stamped(self, kind: Kind, sent: Object) -> Object:
        """A copy with what the server gives to a new object."""
        self._made += 1
        obj = copied({name: part for name, part in sent.items() if name != "status" or traits(kind).status is None})
        metadata = obj["metadata"]
        metadata |= {"uid": f"00000000-0000-4000-8000-{self._made:012d}", "creationTimestamp": self._now()}
        if traits(kind).counts_changes:
            metadata["generation"] = 1
        if traits(kind).status not in (None, ...):
            obj["status"] = copied(traits(kind).status)
        if obj["kind"] == "Service":
            address = f"{SERVICE_NETWORK}.{self._made // 256 % 256}.{self._made % 256}"
            obj["spec"] = {"clusterIP": address, "clusterIPs": [address]} | obj["spec"]
        return obj

    def _with_system_parts(self, kind: Kind, sent: Object, old: Object) -> Object:
        """What a PUT cannot change, from the object that is there."""
        kept = (
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "namespace",
        )
        metadata = sent["metadata"] | {name: old["metadata"][name] for name in kept if name in old["metadata"]}
        new = {**sent, "metadata": {**metadata, "resourceVersion": old["metadata"]["resourceVersion"]}}
        if traits(kind).status is not None:
            new.pop("status", None)
            new |= {"status": old["status"]} if "status" in old else {}
        if kind.kind == "Service":
            new["spec"] = {name: old["spec"][name] for name in ("clusterIP", "clusterIPs")} | new["spec"]
        return new

    def _admitted(self, operation: str, obj: Object) -> Object:
        for rule in self.admission:
            rule(operation, obj)
        return obj

    def _completed(self, kind: Kind, obj: Object, old: Object | None) -> Object:
        obj["metadata"].pop("managedFields", None)
        made = custom.admitted(obj) if kind == MODEL_DEPLOYMENT else with_defaults(obj)
        if found := objections(made, old):
            raise Refused(f'{kind.kind} "{key_of(made)[1]}" is invalid: {"; ".join(found)}')
        return made

    def _write(self, kind: Kind, held: Held, new: Object, owners: Owners, *, status: bool = False) -> Object:
        """Keep `new` if it is different; nothing happens, not even a new version, if it is not."""
        old = held.obj
        if status and kind == MODEL_DEPLOYMENT:
            new = custom.with_fitting_status(new)
        same = _plain(new) == _plain(old) and owners == held.owners
        if same:
            return old
        if traits(kind).counts_changes and _counted(kind, new) != _counted(kind, old):
            new["metadata"] = {**new["metadata"], "generation": old["metadata"]["generation"] + 1}
        times = {
            owner: held.times[owner] if paths == held.owners.get(owner) else self._now()
            for owner, paths in owners.items()
        }
        return self._put(kind, new, held, Held(b"", owners, times))

    def _put(self, kind: Kind, obj: Object, held: Held | None, new: Held) -> Object:
        obj["metadata"]["managedFields"] = managed_fields(new.owners, kind.api_version, new.times)
        if obj["metadata"].get("deletionTimestamp") and not _is_held_back(obj):
            self.objects.remove(kind, obj)
            return obj
        self.objects.put(kind, obj, held, new)
        return obj

    def _end_later(self, kind: Kind, held: Held, obj: Object, grace: int) -> None:
        metadata = obj["metadata"]
        if metadata.get("deletionTimestamp"):
            return
        metadata |= {"deletionTimestamp": self._now(), "deletionGracePeriodSeconds": grace}
        if "generation" in metadata:
            metadata["generation"] += 1
        self.objects.put(kind, obj, held, Held(b"", held.owners, held.times))


def _plain(obj: Object) -> Object:
    """What counts as a difference."""
    metadata = {
        name: value for name, value in obj["metadata"].items() if name not in ("managedFields", "resourceVersion")
    }
    return {**obj, "metadata": metadata}


def _counted(kind: Kind, obj: Object) -> Object:
    """What `metadata.generation` counts the changes of; of Deployments the annotations too."""
    spec = {name: value for name, value in obj.items() if name not in ("metadata", "status")}
    return {**spec, "": obj["metadata"].get("annotations") if kind.kind == "Deployment" else None}


def _is_held_back(obj: Object) -> bool:
    metadata = obj["metadata"]
    return bool(metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds"))
