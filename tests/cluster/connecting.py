"""Our own client against the tests' control plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from tests.control_plane.plane import Plane
from tests.control_plane.users import ADMIN, User

from tidegate.cluster.connection import Connection
from tidegate.cluster.kube import Kube
from tidegate.cluster.limit import Limit
from tidegate.cluster.login import Login, log_in
from tidegate.plan.manifests.identity import LABEL_DEPLOYMENT, LABEL_MANAGED_BY, MANAGER

T = TypeVar("T")
Object = dict[str, Any]
LABELS = {LABEL_MANAGED_BY: MANAGER, LABEL_DEPLOYMENT: "fraud"}


async def login_as(plane: Plane, user: User = ADMIN) -> Login:
    return await log_in(str(plane.kubeconfig(user)), environment={})


@asynccontextmanager
async def connection_to(plane: Plane, user: User = ADMIN) -> AsyncIterator[Connection]:
    connection = Connection((await login_as(plane, user)).client(8))
    try:
        yield connection
    finally:
        await connection.close()


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, and after it no connection is left that still says goodbye."""

    async def whole() -> T:
        try:
            return await main
        finally:
            await hung_up()

    return asyncio.run(whole())


async def hung_up() -> None:
    """TLS connections that were broken off end in the background; a loop that ends before them is warned about."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        while any(one._sock for one in loop._transports.values()):  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def told(plane: Plane, story: Callable[[Kube], Awaitable[T]], user: User = ADMIN) -> T:
    """What a story gets from the API server."""

    async def main() -> T:
        async with connection_to(plane, user) as connection:
            return await story(Kube(connection, Limit()))

    return run(main())


def config_map(namespace: str, name: str = "fraud-access", **data: str) -> Object:
    about = {"namespace": namespace, "name": name, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": data or {"a": "1"}}


def deployment(namespace: str, name: str = "fraud-abc", **spec: Any) -> Object:
    container = {"name": "server", "image": "registry.example/none"}
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}}
    about = {"namespace": namespace, "name": name, "labels": LABELS}
    spec = {"selector": {"matchLabels": LABELS}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": about, "spec": spec}


def model_deployment(namespace: str, name: str = "fraud") -> Object:
    about = {"namespace": namespace, "name": name}
    resources = {"limits": {"memory": "1Gi"}}
    spec = {"bundle": {"uri": "s3://models/fraud"}, "runtime": {"resources": resources}}
    return {"apiVersion": "serving.tidegate.io/v1alpha1", "kind": "ModelDeployment", "metadata": about, "spec": spec}
