"""A canary through a real gateway, as its clients see it: `python -m tests.gateway.story`, in a network of its own.

Steady clients of HTTP/1.1, HTTP/2 and gRPC keep their connections from before the first step to after the last one.  At
each step as many requests as asked are counted by the version that answers.  Prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

from tests.cluster.operating import QUICK, Site, fact
from tests.control_plane.audit import Mark
from tests.control_plane.resources import Object
from tests.control_plane.users import OPERATOR
from tests.gateway.canary import PIN, REST, ROUTING, Canary, clients_of
from tests.gateway.clients import Tally, opened, so_often, steady
from tests.gateway.world import PARENT, tell
from tests.waiting import wait_until

CONNECTIONS = 4
STEADY, EVERY = 2, 0.01  # of each protocol, and seconds from one request of a client to the next
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


class Story(Canary):
    """One deployment, its steady clients, and what they were told."""

    def __init__(self, site: Site, steps: Sequence[int], *, shared: bool) -> None:
        super().__init__(site)
        self.steps, self.shared = steps, shared
        self.protocols = clients_of("http/1.1", "http/2") if shared else clients_of()
        self.steady: Mapping[str, Tally] = {}

    async def play(self, requests: int, rounds: int) -> dict[str, Any]:
        if self.shared:
            self.site.plane.client.create(in_git(self.site))
        self.apply("v1")
        await self.until(lambda one: fact(one, "Promoted").get("status") == "True")
        told: dict[str, Any] = {"steps": [], "promotions": [], "aborts": [], "writes": {}}
        async with steady(self.protocols, STEADY, lambda: EVERY) as self.steady:
            for number in range(rounds):
                new, old = ("v2", "v1") if number % 2 == 0 else ("v1", "v2")
                mark = self.site.plane.audit.mark()
                steps, promotion = await self.promotion(new, old, requests)
                told["steps"] += steps
                told["promotions"].append(promotion)
                told["writes"] = await asyncio.to_thread(self.writes, mark)
                told["aborts"].append(await self.abort(old, new))
                self.show_progress(number + 1, rounds)
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
            self.promote(found)
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

    def show_progress(self, done: int, rounds: int) -> None:
        """A hundred rounds take half an hour."""
        requests, failed = (sum(count) for count in zip(*map(counts, self.steady.values()), strict=True))
        print(f"round {done} of {rounds}: {requests} steady requests, {failed} failed", file=sys.stderr)  # noqa: T201

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


def counts(tally: Tally) -> tuple[int, int]:
    return tally.requests, len(tally.failures)


def spread(seconds: Sequence[float]) -> dict[str, float]:
    return {"p50": round(median(seconds), 3), "max": max(seconds)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="of each protocol, counted at each step [2000]")
    parser.add_argument("--rounds", type=int, default=1, help="promotions and aborts in a row [1]")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="weights in percent [10 50]")
    parser.add_argument("--shared", action="store_true", help="the route lives in Git: existingRouteRef, no gRPC")
    asked = parser.parse_args()
    tell(lambda site: Story(site, asked.steps, shared=asked.shared).play(asked.requests, asked.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
