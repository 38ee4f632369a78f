"""A deployment behind the gateway, and who asks it: waited for beside clients that go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tests.cluster.operating import Site, fact, weight
from tests.control_plane.resources import Object
from tests.gateway.clients import Grpc, Http1, Http2, Opens
from tests.gateway.world import HERE, HTTP_PORT, PARENT

ENVOY = (HERE, HTTP_PORT)
REST, GRPC = "fraud.example.com", "fraud-grpc.example.com"
PIN = {"x-model-version": "canary"}
ROUTING = {"parentRefs": [PARENT], "hostnames": [REST], "grpcHostnames": [GRPC], "headers": PIN}
PATIENCE = 120.0
CLIENTS: Mapping[str, Opens] = {
    "http/1.1": partial(Http1, ENVOY, REST),
    "http/2": partial(Http2, ENVOY, REST),
    "grpc": partial(Grpc, ENVOY, GRPC),
}


def clients_of(*protocols: str) -> dict[str, Opens]:
    """How clients of these protocols are opened; of all where none is given."""
    return {name: CLIENTS[name] for name in protocols or CLIENTS}


class Canary:
    """One deployment and its commands."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._serial = 0

    async def at(self, percent: int) -> Object:
        """A step that is proved: then it waits for somebody to promote it."""
        return await self.until(
            lambda one: weight(one) == percent and fact(one, "Reconciling").get("reason") == "WaitingForPromote"
        )

    def promote(self, found: Object) -> None:
        """Let the step pass at which the deployment was found."""
        self.command("promote", f"{found['status']['candidate']['revision']}/{found['status']['rollout']['step']}")

    def command(self, verb: str, what: str) -> None:
        self._serial += 1
        self.site.command(verb, f"{what}@2026-01-01T00:{self._serial // 60:02}:{self._serial % 60:02}Z")

    async def until(self, holds: Callable[[Object], Any]) -> Object:
        return await until(self.site, holds)


async def until(site: Site, holds: Callable[[Object], Any], seconds: float = PATIENCE) -> Object:
    """The deployment as its last spec has made it, once that holds; clients go on meanwhile."""

    def seen(one: Object) -> Any:
        return (
            "status" in one and one["status"].get("observedGeneration") == one["metadata"]["generation"] and holds(one)
        )

    return await asyncio.to_thread(site.until, seen, seconds)
