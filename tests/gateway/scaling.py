"""Load that rises and falls while a canary steps: `python -m tests.gateway.scaling`, in a network of its own.

Clients of all protocols ask through the gateway at a rate that changes; an autoscaler follows it by the operator's own
metrics API.  Each scene waits for what the load asks for; the history of all writes tells what never was otherwise.
Prints one JSON document.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from tests.cluster.operating import GROUP, QUICK, Site, fact
from tests.gateway.canary import ROUTING, Canary, clients_of
from tests.gateway.clients import steady
from tests.gateway.history import Moment, recorded
from tests.gateway.world import tell
from tests.waiting import wait_until

CLIENTS = 12  # of each protocol: many that ask seldom, so that slow answers change no rate
HELD = 20.0  # requests per second of each server
CALM, USUAL, BUSY = 8.0, 36.0, 72.0  # requests per second: of one server, of two, of more than there may be
MOST = 3
STEPS = (50, 75)
SCALING = {
    "minReplicas": 1, "maxReplicas": MOST, "target": {"requestsPerSecond": HELD},
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
}  # fmt: skip
LOAD_SECONDS = 120.0


class Scaling(Canary):
    """One deployment with an autoscaler, under load."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.protocols = clients_of()
        self.rate = CALM

    async def play(self) -> dict[str, Any]:
        with recorded(self.site) as history:
            self.apply("v1")
            await self.until(lambda one: fact(one, "Promoted").get("status") == "True")
            async with steady(self.protocols, CLIENTS, self.every) as tallies:
                scenes = await self.scenes()
        moments, told = list(history.moments()), {name: tally.shown() for name, tally in tallies.items()}
        return {"scenes": scenes, "moments": len(moments), "broken": broken(moments), "steady": told}

    async def scenes(self) -> dict[str, Mapping[str, int]]:
        """Ready servers of both versions once the load has had its effect, by what was done."""
        told: dict[str, Mapping[str, int]] = {}
        told["usual"] = await self.under(USUAL, stable=2)
        self.apply("v2")
        await self.at(50)
        told["50 %"] = await self.ready(stable=2, candidate=1)
        told["50 %, busy"] = await self.under(BUSY, stable=3, candidate=2)
        self.promote(await self.at(50))
        await self.at(75)
        told["75 %, busy"] = await self.ready(stable=3, candidate=3)
        told["75 %, calm"] = await self.under(CALM, stable=2, candidate=2)
        await asyncio.to_thread(wait_until, self.wants_fewer, "the autoscaler would go below its floor", LOAD_SECONDS)
        self.promote(await self.at(75))
        await self.until(lambda one: one["status"]["stable"]["version"] == "v2" and "rollout" not in one["status"])
        told["afterwards"] = await self.ready(stable=1)
        return told

    def apply(self, version: str) -> None:
        manual = [{"weight": percent, "hold": "manual"} for percent in STEPS]
        rollout = {"steps": manual, "analysis": QUICK, "scaleDownDelay": "3s"}
        self.site.apply(version, routing=ROUTING, rollout=rollout, scaling=SCALING)

    def every(self) -> float:
        """Seconds from one request of a client to the next."""
        return CLIENTS * len(self.protocols) / self.rate

    async def under(self, rate: float, **servers: int) -> Mapping[str, int]:
        """Another load, and so many servers for it."""
        self.rate = rate
        return await self.ready(**servers)

    async def ready(self, **servers: int) -> Mapping[str, int]:
        """Wait for so many servers of `stable` and `candidate`, ready and none besides."""
        return await asyncio.to_thread(
            wait_until, lambda: servers if self.count() == servers else None,
            lambda: f"{servers} at {self.rate:g} requests per second, not {self.count()}", LOAD_SECONDS,
        )  # fmt: skip

    def count(self) -> Mapping[str, int]:
        """Ready servers of each version that has any pods."""
        status = self.site.get()["status"]
        names = {status[who]["revision"]: who for who in ("stable", "candidate") if who in status}
        return {
            names.get(one["metadata"]["labels"][f"{GROUP}/revision"], "old"): one["status"].get("readyReplicas", 0)
            for one in self.site.children("deployments")
        }

    def wants_fewer(self) -> bool:
        """Whether the load asks for fewer servers than the floor of the rollout."""
        found = self.site.children("horizontalpodautoscalers")
        return any(row.get("reason") == "TooFewReplicas" for one in found for row in one["status"]["conditions"])


def broken(moments: Sequence[Moment]) -> list[dict[str, Any]]:
    """Moments of the rollout in which a rule of it did not hold."""
    found, before = [], Moment()
    for now in moments:
        if now.live and now.phase != "Proving":
            rules = {
                "the autoscaler's floor is the live count": all(low >= now.live for low, _ in now.bounds.values()),
                "no autoscaler goes above the spec": all(high <= MOST for _, high in now.bounds.values()),
                "the stable version keeps its pods": now.pods[now.stable] >= now.live,
                "the way back needs no new pod": now.ready[now.stable] >= now.live,
                "no weight without servers": enough(now) or now.weight <= before.weight,
            }
            found += [{"rule": rule, **now.shown()} for rule, holds in rules.items() if not holds]
        before = now
    return found


def enough(now: Moment) -> bool:
    return now.ready.get(now.candidate, 0) >= ceil(now.weight * now.live / 100)


def main() -> int:
    tell(lambda site: Scaling(site).play())
    return 0


if __name__ == "__main__":
    sys.exit(main())
