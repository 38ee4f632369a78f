"""The API server as the reconciler uses it: `Api` over HTTP, limited, measured, and silent once the lease is lost.

A write is only begun while we lead, and given up when the lease would end: what the server may still carry out
afterwards is caught by resource versions and uids.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any

from tidegate.cluster.api import Object, Objects, metadata, named, path
from tidegate.cluster.connection import APPLY, JSON, MERGE, YAML, Call, Connection
from tidegate.cluster.errors import ApiDown, Conflict, Expired, NotFound, NotLeader, Throttled
from tidegate.cluster.lease import Held
from tidegate.cluster.limit import Limit
from tidegate.plan.manifests.effects import Edit
from tidegate.plan.manifests.identity import CONTROLLER_REVISION, MANAGER, Kind, kind_of

DEADLINE_SECONDS = 10.0
PAGE, SMALL_PAGE = 500, 100  # small: of nodes, with a list of images each
EVENT = Kind("events.k8s.io/v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
WRITTEN_BY = (("fieldManager", MANAGER),)
TAKEN_OVER = (*WRITTEN_BY, ("force", "true"))

TimeLeft = Callable[[], float]


def for_ever() -> float:
    """The time left to write for who needs no lease."""
    return float("inf")


class Kube:
    """`tidegate.cluster.api.Api` against a server; `time_left` says how long writes may go on."""

    def __init__(self, connection: Connection, limit: Limit, time_left: TimeLeft = for_ever) -> None:
        self._connection = connection
        self._limit = limit
        self._time_left = time_left

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        try:
            return await self._read(Call("get", "GET", path(kind, namespace, name), named(kind, namespace, name)))
        except NotFound:
            return None

    async def list(self, kind: Kind, namespace: str | None, selector: str) -> Objects:
        try:
            return await self._pages(kind, namespace, selector, PAGE)
        except Expired:  # so long between two pages: once more, in one piece
            return await self._pages(kind, namespace, selector, 0)

    async def walk(self, kind: Kind, fields: str = "") -> AsyncIterator[Objects]:
        """All objects of a kind whose fields are so, a page at a time: what nobody keeps need not be held at once."""
        going_on = ""
        while True:
            page, going_on = await self._page(kind, None, {"fieldSelector": fields}, SMALL_PAGE, going_on)
            yield page
            if not going_on:
                return

    async def has(self, kinds: Collection[Kind]) -> frozenset[Kind]:
        """Those of some kinds that the cluster has; everybody may ask."""
        served: dict[str, set[str]] = {}
        for version in {kind.api_version for kind in kinds}:
            try:
                found = await self._read(Call("get", "GET", f"/apis/{version}", version))
            except NotFound:
                found = {}
            served[version] = {str(one.get("name")) for one in found.get("resources") or ()}
        return frozenset(kind for kind in kinds if kind.plural in served[kind.api_version])

    async def create(self, obj: Mapping[str, Any]) -> Object:
        return await self._create(kind_of(obj), obj)

    async def create_event(self, obj: Mapping[str, Any]) -> Object:
        return await self._create(EVENT, obj)

    async def apply(self, obj: Mapping[str, Any]) -> Object:
        kind, (namespace, name) = kind_of(obj), place(obj)
        return await self._write(
            Call("patch", "PATCH", path(kind, namespace, name), named(kind, namespace, name), TAKEN_OVER, obj, APPLY)
        )

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        where, body = named(kind, namespace, name), {"spec": {"replicas": replicas}}
        await self._write(Call("patch", "PATCH", path(kind, namespace, name, "scale"), where, WRITTEN_BY, body, MERGE))

    async def edit(self, effect: Edit) -> Object:
        body = {"metadata": {"resourceVersion": effect.version}, **effect.change}
        where = path(effect.kind, effect.namespace, effect.name)
        what = named(effect.kind, effect.namespace, effect.name)
        return await self._write(Call("patch", "PATCH", where, what, WRITTEN_BY, body, MERGE))

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        # Said aloud: the server's own default for Jobs leaves their pods behind.
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._write(
                Call("delete", "DELETE", path(kind, namespace, name), named(kind, namespace, name), body=body)
            )
        except (NotFound, Conflict):
            return

    async def put_status(self, obj: Mapping[str, Any]) -> Object:
        kind, (namespace, name) = kind_of(obj), place(obj)
        call = Call(
            "update", "PUT", path(kind, namespace, name, "status"), named(kind, namespace, name), WRITTEN_BY,
            status_only(obj),
        )  # fmt: skip
        return await self._write(call)

    async def _create(self, kind: Kind, obj: Mapping[str, Any]) -> Object:
        namespace, name = place(obj)
        body, form = (as_the_server_writes(obj), YAML) if kind == CONTROLLER_REVISION else (obj, JSON)
        return await self._write(
            Call("create", "POST", path(kind, namespace), named(kind, namespace, name), WRITTEN_BY, body, form)
        )

    async def _pages(self, kind: Kind, namespace: str | None, selector: str, size: int) -> Objects:
        found: Objects = []
        going_on = ""
        while True:
            page, going_on = await self._page(kind, namespace, {"labelSelector": selector}, size, going_on)
            found += page
            if not going_on:
                return found

    async def _page(
        self, kind: Kind, namespace: str | None, chosen: Mapping[str, str], size: int, going_on: str
    ) -> tuple[Objects, str]:
        """A page of a list, and what the next one begins with."""
        asked = {**chosen, "limit": str(size or ""), "continue": going_on}
        query = tuple((name, value) for name, value in asked.items() if value)
        page = await self._read(Call("list", "GET", path(kind, namespace), named(kind, namespace), query))
        # Items of a list do not say what they are.
        items = [{"apiVersion": kind.api_version, "kind": kind.kind} | item for item in page.get("items") or ()]
        return items, str(metadata(page).get("continue") or "")

    async def _read(self, call: Call) -> Object:
        async with self._limit:
            return await self._send(call, DEADLINE_SECONDS)

    async def _write(self, call: Call) -> Object:
        async with self._limit:
            left = self._time_left()  # after the wait for our turn, which may have outlasted the lease
            if left <= 0:
                raise NotLeader("the lease is lost", where=f"{call.verb} {call.where}")
            return await self._send(call, min(DEADLINE_SECONDS, left))

    async def _send(self, call: Call, deadline: float) -> Object:
        try:
            answer = await self._connection.send(call, deadline)
        except Throttled as error:
            self._limit.suffered(error.retry_after)
            raise
        except ApiDown:
            self._limit.suffered()
            raise
        self._limit.fine()
        return answer


class KubeLease:
    """The Lease of an elector, on a connection that nobody else uses: renewals never wait behind other requests."""

    def __init__(self, connection: Connection, namespace: str, name: str, deadline: float = 3.0) -> None:
        self._connection = connection
        self._namespace = namespace
        self._name = name
        self._deadline = deadline

    async def read(self) -> Held | None:
        try:
            return await self._send(Call("get", "GET", path(LEASE, self._namespace, self._name), self._where))
        except NotFound:
            return None

    async def create(self, spec: Mapping[str, Any]) -> Held:
        body = self._object(spec)
        return await self._send(Call("create", "POST", path(LEASE, self._namespace), self._where, WRITTEN_BY, body))

    async def replace(self, spec: Mapping[str, Any], version: str) -> Held:
        body = self._object(spec, version)
        place = path(LEASE, self._namespace, self._name)
        return await self._send(Call("update", "PUT", place, self._where, WRITTEN_BY, body))

    @property
    def _where(self) -> str:
        return named(LEASE, self._namespace, self._name)

    def _object(self, spec: Mapping[str, Any], version: str = "") -> Object:
        about = {"namespace": self._namespace, "name": self._name} | ({"resourceVersion": version} if version else {})
        return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": about, "spec": dict(spec)}

    async def _send(self, call: Call) -> Held:
        obj = await self._connection.send(call, self._deadline)
        return Held(str(metadata(obj).get("resourceVersion") or ""), obj.get("spec") or {})


def place(obj: Mapping[str, Any]) -> tuple[str, str]:
    about = metadata(obj)
    return str(about["namespace"]), str(about["name"])


def as_the_server_writes(obj: Mapping[str, Any]) -> str:
    """JSON without blanks, sent as the YAML that it is too, because the client puts blanks into JSON.

    The data of a ControllerRevision are kept as the bytes that came.  Any patch of its labels or owners writes them
    anew, and is refused when those are other bytes: then nobody could mark it again, nor orphan it.
    """
    return json.dumps(obj, sort_keys=True, separators=(",", ":"))


def status_only(obj: Mapping[str, Any]) -> Object:
    """The object without what a write of its status ignores anyway."""
    about = {name: metadata(obj)[name] for name in ("namespace", "name", "uid", "resourceVersion")}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": about, "status": obj.get("status") or {}}
