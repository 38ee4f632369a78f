"""The operator's side of the fake cluster: `Api`, with the faults that a network and a busy server have.

cluster = FakeCluster(clock)
api = FakeApi(cluster)                      # one client; a second one is a second operator
api.faults.crash_after_write = 3
watch = api.subscribe(lambda kind, event, obj: cache.feed(kind, event, obj), {POD: "a=b", …})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tidegate.cluster.errors import Conflict, NotFound
from tidegate.plan.manifests.effects import Edit
from tidegate.plan.manifests.identity import MANAGER, Kind

from .cluster import FakeCluster
from .faults import Call, Crash, Faults
from .fields import Object
from .kinds import kind_of
from .objects import key_of
from .users import Users
from .watching import Callback, Listed, Watch

T = TypeVar("T")
Objects = list[Object]


class FakeApi:
    """A client with the operator's field manager."""

    def __init__(self, cluster: FakeCluster | None = None, faults: Faults | None = None) -> None:
        self.cluster = cluster or FakeCluster()
        self.faults = faults or Faults()
        self.users = Users(self.cluster)
        self.after_write: list[Callable[[Call], object]] = []  # called when a write took effect, before it is answered
        self._watches: list[Watch] = []

    def subscribe(
        self,
        callback: Callback,
        selectors: Mapping[Kind, str] | None = None,
        *,
        listing: bool = True,
        after_list: Listed | None = None,
    ) -> Watch:
        """Told of every change until the client dies; see `FakeCluster.subscribe` and `Watch`."""
        watch = self.cluster.subscribe(callback, selectors, listing=listing, after_list=after_list)
        self._watches.append(watch)
        return watch

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return await self._call("get", kind, namespace, name, lambda: self._get(kind, namespace, name))

    async def create(self, obj: Mapping[str, Any]) -> Object:
        return await self._write("create", obj, lambda: self.cluster.create(obj, MANAGER))

    async def apply(self, obj: Mapping[str, Any]) -> Object:
        return await self._write("apply", obj, lambda: self.cluster.apply(obj, MANAGER, force=True))

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        await self._call(
            "scale", kind, namespace, name, lambda: self.cluster.scale(kind, namespace, name, replicas, MANAGER)
        )

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        await self._call("delete", kind, namespace, name, lambda: self._delete(kind, namespace, name, uid))

    async def edit(self, effect: Edit) -> Object:
        return await self._call("edit", effect.kind, effect.namespace, effect.name, lambda: self._edit(effect))

    async def put_status(self, obj: Mapping[str, Any]) -> Object:
        return await self._write("put_status", obj, lambda: self.cluster.replace(obj, MANAGER, "status"))

    async def list(self, kind: Kind, namespace: str | None, selector: str) -> Objects:
        return await self._call("list", kind, namespace, "", lambda: self._list(kind, namespace, selector))

    def _get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        absent = kind in self.cluster.absent_kinds
        return None if absent else self.cluster.find(kind, namespace, name, self.faults.stale(kind))

    def _list(self, kind: Kind, namespace: str | None, selector: str) -> Objects:
        if kind in self.cluster.absent_kinds:
            raise NotFound("the server could not find the requested resource")
        return self.cluster.listed(kind, namespace, selector, self.faults.stale(kind))

    def _edit(self, effect: Edit) -> Object:
        live = self.cluster.find(effect.kind, effect.namespace, effect.name)
        if live is None:
            raise NotFound(f"{effect.name} is not there")
        meta = {**live["metadata"], "resourceVersion": effect.version}
        spec = {**live["spec"], **effect.change["spec"]}
        return self.cluster.replace({**live, "metadata": meta, "spec": spec}, MANAGER)

    def _delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        try:
            self.cluster.delete(kind, namespace, name, uid)
        except (NotFound, Conflict):
            return  # gone already, or another object has the name by now

    async def _write(self, verb: str, obj: Mapping[str, Any], effect: Callable[[], T]) -> T:
        sent = dict(obj)
        return await self._call(verb, kind_of(sent), *key_of(sent), effect)

    async def _call(self, verb: str, kind: Kind, namespace: str | None, name: str, effect: Callable[[], T]) -> T:
        try:
            call = await self.faults.enter(verb, kind, namespace, name)
            answer = effect()
            for check in self.after_write if call.write else ():
                check(call)
            self.faults.leave(call)
        except Crash:
            for watch in self._watches:
                watch.close()
            raise
        return answer
