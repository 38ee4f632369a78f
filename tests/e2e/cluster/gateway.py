"""The gateway of the node: Contour and its Envoy as processes of the node, as one with `hostNetwork` would be.

Envoy leads to the pods' own addresses, which Contour reads in the EndpointSlices.  Clients ask it on the node, by host
names that each story has for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from tests.control_plane.resources import Object
from tests.e2e.cluster.steady import Door
from tests.gateway.clients import Grpc, Http1, Tally, so_often
from tests.gateway.shares import interval
from tests.gateway.world import HERE, HTTP_PORT, PARENT, Envoy

ENVOY = (HERE, HTTP_PORT)
CONNECTIONS = 4
REQUESTS = 2000


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a story says of the gateway that its clients come through."""

    envoy: Envoy

    def door(self, namespace: str) -> Door:
        return Door(*ENVOY, host=rest(namespace))

    def routing(self, namespace: str) -> Object:
        return {"parentRefs": [PARENT], "hostnames": [rest(namespace)], "grpcHostnames": [grpc(namespace)]}

    def gives_exactly(self, percent: int, version: str, namespace: str) -> None:
        """Of so many requests of each protocol none fails, and the version answers its share."""
        low, high = interval(percent, REQUESTS)
        for protocol, tally in asyncio.run(asked(namespace)).items():
            assert not tally.failures, (protocol, tally.shown())
            assert low <= tally.versions[version] <= high, (protocol, percent, tally.shown())


async def asked(namespace: str) -> dict[str, Tally]:
    """What so many requests of each protocol were told, over a few connections."""
    opened: dict[str, Sequence[Http1 | Grpc]] = {
        "http/1.1": [Http1(ENVOY, rest(namespace)) for _ in range(CONNECTIONS)],
        "grpc": [Grpc(ENVOY, grpc(namespace)) for _ in range(CONNECTIONS)],
    }
    tallies = {protocol: await so_often([one.ask for one in clients], REQUESTS) for protocol, clients in opened.items()}
    for client in chain.from_iterable(opened.values()):
        await client.leave()
    return tallies


def rest(namespace: str) -> str:
    return f"{namespace}.example.com"


def grpc(namespace: str) -> str:
    return f"{namespace}-grpc.example.com"
