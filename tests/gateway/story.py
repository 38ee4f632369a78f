"""A canary through a real gateway, as its clients see it: `python -m tests.gateway.story`, in a network of its own.

Steady clients of HTTP/1.1 and gRPC keep their connections from before the first step to after the last one.  At each
step as many requests as asked are counted by the version that answers.  Prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.operating import QUICK, Operator, Site, fact, weight
from tests.control_plane import programs
from tests.control_plane.resources import Object
from tests.gateway.clients import Ask, Grpc, Http1, Tally, so_often, steadily
from tests.gateway.own_network import take_addresses
from tests.gateway.world import HERE, HTTP_PORT, PARENT, real_gateway

ENVOY = (HERE, HTTP_PORT)
REST, GRPC = "fraud.example.com", "fraud-grpc.example.com"
PIN = {"x-model-version": "canary"}
ROUTING = {"parentRefs": [PARENT], "hostnames": [REST], "grpcHostnames": [GRPC], "headers": PIN}
CONNECTIONS = 4
STEPS = (10, 50)


class Story:
    """One deployment, its steady clients, and what they were told."""

    def __init__(self, site: Site, operator: Operator) -> None:
        self.site, self.operator = site, operator
        self.steady = {"http/1.1": Tally(), "grpc": Tally()}
        self.serial = 0

    async def play(self, requests: int, rounds: int) -> dict[str, Any]:
        self.apply("v1")
        await self.until(lambda one: fact(one, "Promoted").get("status") == "True")
        over = asyncio.Event()
        clients = [
            asyncio.create_task(
                steadily([Http1(ENVOY, REST).ask, Http1(ENVOY, REST).ask], self.steady["http/1.1"], over, 0.005)
            ),
            asyncio.create_task(
                steadily([Grpc(ENVOY, GRPC).ask, Grpc(ENVOY, GRPC).ask], self.steady["grpc"], over, 0.005)
            ),
        ]
        told: dict[str, Any] = {"steps": [], "aborts": []}
        for _ in range(rounds):
            told["steps"] += await self.promotion(requests)
            told["aborts"].append(await self.abort())
        over.set()
        await asyncio.gather(*clients)
        return told | {"steady": {name: tally.shown() for name, tally in self.steady.items()}}

    async def promotion(self, requests: int) -> list[dict[str, Any]]:
        """From v1 to v2 by every step, and back to v1 at once for the next round."""
        self.apply("v2")
        steps = []
        for percent in STEPS:
            found = await self.at(percent)
            rest, calls = await self.counted(requests)
            pinned = await so_often([Http1(ENVOY, REST, PIN).ask, Grpc(ENVOY, GRPC, PIN).ask], 100)
            steps.append({"weight": percent, "http/1.1": rest.shown(), "grpc": calls.shown(), "pinned": pinned.shown()})
            self.command("promote", f"{found['status']['candidate']['revision']}/{found['status']['rollout']['step']}")
        await self.until(lambda one: one["status"]["stable"]["version"] == "v2" and "rollout" not in one["status"])
        return steps

    async def abort(self) -> dict[str, Any]:
        """v1 on trial at 50 %, sent back: how long its clients still meet it."""
        self.apply("v1", steps=STEPS[-1:])
        found = await self.at(STEPS[-1])
        began = time.monotonic()
        self.command("abort", found["status"]["candidate"]["revision"])
        last = began
        ask = Http1(ENVOY, REST).ask
        while time.monotonic() < began + 2:
            if await ask() == "v1":
                last = time.monotonic()
        await self.until(lambda one: fact(one, "Stalled").get("reason") == "Aborted" and "rollout" not in one["status"])
        self.apply("v2")
        await self.until(lambda one: fact(one, "Promoted").get("status") == "True")
        rest, _ = await self.counted(100)
        self.command("retry", found["status"]["candidate"]["revision"])
        return {"seconds": round(last - began, 3), "after": rest.shown()}

    async def counted(self, requests: int) -> tuple[Tally, Tally]:
        rest: list[Ask] = [Http1(ENVOY, REST).ask for _ in range(CONNECTIONS)]
        calls: list[Ask] = [Grpc(ENVOY, GRPC).ask for _ in range(CONNECTIONS)]
        return await so_often(rest, requests), await so_often(calls, requests)

    def apply(self, version: str, steps: tuple[int, ...] = STEPS) -> None:
        manual = [{"weight": percent, "hold": "manual"} for percent in steps]
        self.site.apply(version, routing=ROUTING, rollout={"steps": manual, "analysis": QUICK})

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

        return await asyncio.to_thread(self.site.until, seen, 25.0)


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
    asked = parser.parse_args()
    take_addresses()
    with tempfile.TemporaryDirectory() as folder, real_gateway(Path(folder)) as (site, operator):
        try:
            told = asyncio.run(Story(site, operator).play(asked.requests, asked.rounds))
        except BaseException:
            show(site)
            raise
    print(json.dumps(told))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
