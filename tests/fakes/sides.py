"""The fake and a real API server in the same words, so that one test can be held against both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from tests.control_plane.client import ApiError
from tests.control_plane.plane import Plane
from tests.control_plane.users import ADMIN
from tests.waiting import wait_until

from tidegate.cluster.api import Api, path
from tidegate.cluster.connection import Connection
from tidegate.cluster.errors import Conflict
from tidegate.cluster.kube import Kube
from tidegate.cluster.limit import Limit
from tidegate.cluster.login import log_in
from tidegate.plan.manifests.identity import Kind

from .apiserver import FakeApi
from .controllers import World
from .fields import Object
from .users import Users

T = TypeVar("T")
Work = Callable[[Api], Awaitable[T]]
Change = Callable[[Object], object]
SIDES = ("fake", "real")
WATCH_SECONDS = 1


class Others(Protocol):
    """Whoever else writes: the words of `Users` that both sides have."""

    def create(self, obj: Mapping[str, Any]) -> Object: ...
    def get(self, kind: Kind, namespace: str, name: str) -> Object: ...
    def edit(self, kind: Kind, namespace: str, name: str, change: Change, manager: str = ...) -> Object: ...
    def set_status(self, kind: Kind, namespace: str, name: str, status: Mapping[str, Any]) -> Object: ...
    def apply(self, obj: Mapping[str, Any], manager: str = ..., *, force: bool = ...) -> Object: ...
    def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None: ...
    def delete(self, kind: Kind, namespace: str, name: str, cascade: str = ...) -> None: ...
    def end_namespace(self, namespace: str) -> None: ...


class Side(Protocol):
    """A server, a namespace in it, the product's way in, and everybody else's."""

    namespace: str

    @property
    def others(self) -> Others: ...
    def ask(self, work: Work[T]) -> T:
        """Something done through the product's client."""
        ...

    def events_of(self, kind: Kind, selector: str, happens: Callable[[], object]) -> list[tuple[str, str]]:
        """Type and name of each event that a watch with that selector shows of what happens."""
        ...

    def until(self, look: Callable[[], object], what: str) -> None:
        """Let the controllers work until it is so."""
        ...


@dataclass
class FakeSide:
    """In memory."""

    api: FakeApi
    namespace: str

    world: World

    @classmethod
    def in_memory(cls, namespace: str) -> FakeSide:
        api = FakeApi()
        return cls(api, namespace, World(api.cluster))

    def until(self, look: Callable[[], object], what: str) -> None:
        self.world.settle()
        assert look(), what

    @property
    def others(self) -> Users:
        return self.api.users

    def ask(self, work: Work[T]) -> T:
        return asyncio.run(_awaited(work(self.api)))

    def events_of(self, kind: Kind, selector: str, happens: Callable[[], object]) -> list[tuple[str, str]]:
        seen: list[tuple[str, str]] = []
        watch = self.api.subscribe(
            lambda _, event, obj: seen.append((str(event), obj["metadata"]["name"])), {kind: selector}, listing=False
        )
        happens()
        watch.close()
        return seen


class RealSide:
    """kube-apiserver, through `Kube`."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.namespace = plane.new_namespace("contract")
        self._kubeconfig = plane.kubeconfig(ADMIN)
        self.others = RealUsers(plane)

    def ask(self, work: Work[T]) -> T:
        return asyncio.run(self._ask(work))

    async def _ask(self, work: Work[T]) -> T:
        connection = Connection((await log_in(str(self._kubeconfig))).client(4))
        try:
            return await work(Kube(connection, Limit()))
        finally:
            await connection.close()

    def until(self, look: Callable[[], object], what: str) -> None:
        wait_until(look, lambda: what)

    def events_of(self, kind: Kind, selector: str, happens: Callable[[], object]) -> list[tuple[str, str]]:
        collection = path(kind, self.namespace)
        before = self.plane.client.request("GET", collection)["metadata"]["resourceVersion"]
        happens()
        query = {"watch": "true", "resourceVersion": before, "labelSelector": selector, "timeoutSeconds": WATCH_SECONDS}
        return events_in(self.plane.client.text(f"{collection}?{urlencode(query)}"))


def events_in(text: str) -> list[tuple[str, str]]:
    told = [json.loads(line) for line in text.splitlines()]
    return [(one["type"], one["object"]["metadata"]["name"]) for one in told]


class RealUsers:
    """Raw requests of an administrator."""

    def __init__(self, plane: Plane) -> None:
        self._client = plane.client

    def create(self, obj: Mapping[str, Any]) -> Object:
        return self._client.create(obj)

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        return self._client.request("GET", path(kind, namespace, name))

    def edit(self, kind: Kind, namespace: str, name: str, change: Change, manager: str = "kubectl-edit") -> Object:
        obj = self.get(kind, namespace, name)
        change(obj)
        return self._client.request("PUT", path(kind, namespace, name), obj, query={"fieldManager": manager})

    def set_status(self, kind: Kind, namespace: str, name: str, status: Mapping[str, Any]) -> Object:
        obj = {**self.get(kind, namespace, name), "status": dict(status)}
        return self._client.request("PUT", path(kind, namespace, name, "status"), obj)

    def apply(self, obj: Mapping[str, Any], manager: str = "kubectl", *, force: bool = False) -> Object:
        try:
            return self._client.apply(obj, manager, force=force)
        except ApiError as error:
            if error.status == 409:
                raise Conflict(error.message) from None
            raise

    def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        change = {"spec": {"replicas": replicas}}
        self._client.patch(kind.plural, namespace, name, change, subresource="scale")

    def delete(self, kind: Kind, namespace: str, name: str, cascade: str = "background") -> None:
        options = {"propagationPolicy": cascade.capitalize()}
        self._client.request("DELETE", path(kind, namespace, name), options)

    def end_namespace(self, namespace: str) -> None:
        self._client.delete("namespaces", "", namespace)


def side_of(name: str, plane: Plane) -> Side:
    """The side with that name of SIDES."""
    return FakeSide.in_memory("contract") if name == "fake" else RealSide(plane)


async def _awaited(work: Awaitable[T]) -> T:
    return await work
