"""A canary through a real gateway, as its clients see it: `python -m tests.gateway.story`, in a network of its own.

Steady clients of HTTP/1.1, HTTP/2 and gRPC keep their connections from before the first step to after the last one.  At
each step as many requests as asked are counted by the version that answers.  Prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tests.cluster.operating import QUICK, Site, fact, weight
from tests.control_plane import programs
from tests.control_plane.audit import Mark
from tests.control_plane.resources import Object
from tests.control_plane.users import OPERATOR
from tests.gateway.clients import Grpc, Http1, Http2, Opens, Tally, opened, so_often, steadily
from tests.gateway.own_network import take_addresses
from tests.gateway.world import HERE, HTTP_PORT, PARENT, real_gateway
from tests.waiting import wait_until

ENVOY = (HERE, HTTP_PORT)
REST, GRPC = "fraud.example.com", "fraud-grpc.example.com"
PIN = {"x-model-version": "canary"}
ROUTING = {"parentRefs": [PARENT], "hostnames": [REST], "grpcHostnames": [GRPC], "headers": PIN}
CONNECTIONS = 4
STEADY, PAUSE = 2, 0.005  # of each protocol, and seconds between a client's requests
PINNED = 100
STEPS = (10, 50)


def in_git(site: Site) -> Object:
    """A route of somebody else, with our two Services in it and a rule for the header."""
    front, candidate = ({"name": name, "port": 8080} for name in ("fraud", "fraud-candidate"))
    marks = {"set": [{"name": "x-tidegate-pinned", "value": "1"}]}
    headers = [{"name": name, "value": value} for name, value in PIN.items()]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": site.namespace},
        "spec": {
            "parentRefs": [PARENT], "hostnames": [REST],
            "rules": [
                {
                    "matches": [{"headers": headers}], "backendRefs": [candidate],
                    "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": marks}],
                },
                {"backendRefs": [{**front, "weight": 100}, {**candidate, "weight": 0}]},
            ],
        },
    }  # fmt: skip


class Story:
    """One deployment, its steady clients, and what they were told."""

    def __init__(self, site: Site, steps: Sequence[int], *, shared: bool) -> None:
        self.site, self.steps, self.shared = site, steps, shared
        self.protocols: dict[str, Opens] = {
            "http/1.1": partial(Http1, ENVOY, REST),
            "http/2": partial(Http2, ENVOY, REST),
        }
        if not shared:
            self.protocols["grpc"] = partial(Grpc, ENVOY, GRPC)
        self.steady = {name: Tally() for name in self.protocols}
        self.serial = 0

    async def play(self, requests: int, rounds: int) -> dict[str, Any]:
        if self.shared:
            self.site.plane.client.create(in_git(self.site))
        self.apply("v1")
        await self.until(lambda one: fact(one, "Promoted").get("status") == "True")
        over = asyncio.Event()
        told: dict[str, Any] = {"steps": [], "promotions": [], "aborts": [], "writes": {}}
        async with AsyncExitStack() as stack:
            clients = []
            for name, client in self.protocols.items():
                asks = await stack.enter_async_context(opened([client] * STEADY))
                clients.append(asyncio.create_task(steadily(asks, self.steady[name], over, lambda: PAUSE)))
            for number in range(rounds):
                new, old = ("v2", "v1") if number % 2 == 0 else ("v1", "v2")
                mark = self.site.plane.audit.mark()
                steps, promotion = await self.promotion(new, old, requests)
                told["steps"] += steps
                told["promotions"].append(promotion)
                told["writes"] = await asyncio.to_thread(self.writes, mark)
                told["aborts"].append(await self.abort(old, new))
            over.set()
            await asyncio.gather(*clients)
        seconds = {name: spread([one["seconds"] for one in told[name]]) for name in ("promotions", "aborts")}
        return told | {"seconds": seconds, "steady": {name: tally.shown() for name, tally in self.steady.items()}}

    async def promotion(self, new: str, old: str, requests: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """From the other version to this one by every step; the last command, and how long clients still meet the old."""
        self.apply(new)
        steps = []
        for percent in self.steps:
            found = await self.at(percent)
            counted = {name: tally.shown() for name, tally in (await self.counted(requests)).items()}
            async with opened([partial(client, PIN) for client in self.protocols.values()]) as pins:
                pinned = await so_often(pins, PINNED)
            steps.append({"weight": percent, "candidate": new, **counted, "pinned": pinned.shown()})
            began = time.monotonic()
            self.command("promote", f"{found['status']['candidate']['revision']}/{found['status']['rollout']['step']}")
        await self.until(lambda one: one["status"]["stable"]["version"] == new and "rollout" not in one["status"])
        return steps, {"seconds": self.met_for(old, began), "candidate": new}

    async def abort(self, old: str, stable: str) -> dict[str, Any]:
        """The old version on trial at the last step, sent back: how long clients still meet it."""
        self.apply(old, steps=self.steps[-1:])
        found = await self.at(self.steps[-1])
        began = time.monotonic()
        self.command("abort", found["status"]["candidate"]["revision"])
        await self.until(lambda one: fact(one, "Stalled").get("reason") == "Aborted" and "rollout" not in one["status"])
        seconds = self.met_for(old, began)
        self.apply(stable)
        await self.until(lambda one: fact(one, "Promoted").get("status") == "True")
        self.command("retry", found["status"]["candidate"]["revision"])
        return {"seconds": seconds, "candidate": old}

    def met_for(self, version: str, began: float) -> float:
        """For how many seconds steady clients were still answered by a version, once all have gone over."""
        last = max(tally.last.get(version, began) for tally in self.steady.values())
        return round(max(0.0, last - began), 3)

    def writes(self, mark: Mark) -> dict[str, int]:
        """What the operator has written for one canary, from its manifest to the end of the old version."""
        wait_until(lambda: len(self.site.children("deployments")) == 1, "the old version goes")
        found = self.site.plane.audit.writes(mark, user=OPERATOR.name)
        return dict(Counter(f"{one.verb} {one.resource}" for one in found if one.resource != "leases"))

    async def counted(self, requests: int) -> dict[str, Tally]:
        """So many requests of each protocol, over a few connections."""
        tallies = {}
        for name, client in self.protocols.items():
            async with opened([client] * CONNECTIONS) as asks:
                tallies[name] = await so_often(asks, requests)
        return tallies

    def apply(self, version: str, steps: Sequence[int] = ()) -> None:
        manual = [{"weight": percent, "hold": "manual"} for percent in steps or self.steps]
        routing = {"existingRouteRef": {"name": "shop"}} if self.shared else ROUTING
        self.site.apply(version, routing=routing, rollout={"steps": manual, "analysis": QUICK})

    async def at(self, percent: int) -> Object:
        """A step that is proved: then it waits for somebody to promote it."""
        return await self.until(
            lambda one: weight(one) == percent and fact(one, "Reconciling").get("reason") == "WaitingForPromote"
        )

    def command(self, verb: str, what: str) -> None:
        self.serial += 1
        self.site.command(verb, f"{what}@2026-01-01T00:{self.serial // 60:02}:{self.serial % 60:02}Z")

    async def until(self, holds: Callable[[Object], Any]) -> Object:
        """Beside the clients, who go on."""

        def seen(one: Object) -> Any:
            return (
                "status" in one
                and one["status"].get("observedGeneration") == one["metadata"]["generation"]
                and holds(one)
            )

        return await asyncio.to_thread(self.site.until, seen, 60.0)


def spread(seconds: Sequence[float]) -> dict[str, float]:
    return {"p50": round(median(seconds), 3), "max": max(seconds)}


def show(site: Site) -> None:
    """What there was when something did not come about."""
    for plural in ("httproutes", "grpcroutes", "endpointslices"):
        for found in site.children(plural):
            found["metadata"].pop("managedFields", None)
            print(json.dumps(found), file=sys.stderr)  # noqa: T201
    print(site.plane.part(programs.CONTOUR).last_lines(60), file=sys.stderr)  # noqa: T201


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="of each protocol, counted at each step [2000]")
    parser.add_argument("--rounds", type=int, default=1, help="promotions and aborts in a row [1]")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="weights in percent [10 50]")
    parser.add_argument("--shared", action="store_true", help="the route lives in Git: existingRouteRef, no gRPC")
    asked = parser.parse_args()
    take_addresses()
    with tempfile.TemporaryDirectory() as folder, real_gateway(Path(folder)) as site:
        try:
            told = asyncio.run(Story(site, asked.steps, shared=asked.shared).play(asked.requests, asked.rounds))
        except BaseException:
            show(site)
            raise
    print(json.dumps(told))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
