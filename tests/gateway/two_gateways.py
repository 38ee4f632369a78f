"""Two canaries at the same time: `python -m tests.gateway.two_gateways`, in a network of its own.

One goes through Contour, and what it costs is counted in the API server's audit log.  The other goes through a gateway
that takes every route and heeds no weight (even.py): how that is found out, what the way back is, and what happens
without one.  Prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.cluster.operating import QUICK, Site, fact, weight
from tests.control_plane.audit import counted as by_verb
from tests.control_plane.resources import Object
from tests.control_plane.users import OPERATOR
from tests.gateway import canary
from tests.gateway.clients import Http1, Tally, opened, so_often, steadily
from tests.gateway.even import NAME, EvenGateway
from tests.gateway.own_network import take_addresses
from tests.gateway.world import HERE, HTTP_PORT, PARENT, real_gateway
from tests.local.local_run import bundles

from tidegate.local.routes import Listen

EVEN = Listen(HERE, 8090)
HOST = "fraud.example.com"
WEIGHTS = (10, 25, 50, 75)  # and 100: the steps that Argo Rollouts was measured with
MOST_WRITES = 36  # events and the course among them; Argo Rollouts: 45, and 19 events
ASKED = 100
EVERY = 0.007  # seconds from one request of a client to the next
PATIENCE = 300.0


until = partial(canary.until, seconds=PATIENCE)


@asynccontextmanager
async def asking(port: int) -> AsyncIterator[Tally]:
    """Two clients that never stop, and what they were told."""
    tally, over = Tally(), asyncio.Event()
    async with opened([partial(Http1, (HERE, port), HOST)] * 2) as asks:
        clients = asyncio.create_task(steadily(asks, tally, over, lambda: EVERY))
        try:
            yield tally
        finally:
            over.set()
            await clients


def promoted(one: Object) -> bool:
    return fact(one, "Promoted").get("status") == "True" and "rollout" not in one["status"]


async def counted_canary(site: Site, hold: str, analysis: Object) -> dict[str, Any]:
    """Every weight is held for so long; what the operator writes, from the manifest to the last word about it.

    A server that misses its probes, because the machine is busy, costs writes of its own: then another canary is
    counted too.
    """
    spec = {
        "routing": {"parentRefs": [PARENT], "hostnames": [HOST]},
        "rollout": {"steps": [{"weight": one, "hold": hold} for one in WEIGHTS], "analysis": analysis},
    }
    site.apply("v1", **spec)
    await until(site, promoted)
    counts: list[Counter[tuple[str, str]]] = []
    async with asking(HTTP_PORT) as tally:
        for version in ("v2", "big"):
            mark = site.plane.audit.mark()
            site.apply(version, **spec)
            done = await until(site, promoted)
            assert done["status"]["stable"]["version"] == version
            await until(site, lambda one: len(site.children("deployments")) == 1)
            await until(site, lambda one: last_in_the_course(site) == one["status"]["decisions"])
            counts.append(by_verb(site.plane.audit.writes(mark, user=OPERATOR.name, namespace=site.namespace)))
            if counts[-1].total() <= MOST_WRITES:
                break
    least = min(counts, key=Counter.total)
    return {"writes": {" ".join(which): count for which, count in sorted(least.items())}, "steady": tally.shown()}


def last_in_the_course(site: Site) -> int:
    found = site.plane.client.get("configmaps", site.namespace, f"{site.name}-course")
    rows = [json.loads(line) for line in found["data"]["course.jsonl"].splitlines()] if found else []
    return max((event["number"] for row in rows for event in row["events"]), default=0)


async def unheeded_canary(site: Site, gateway: EvenGateway) -> dict[str, Any]:
    """Held until the gateway heeds the first weight; sent back because it does not heed the second."""
    spec: Object = {"routing": {"parentRefs": [{"name": NAME}], "hostnames": [HOST]}}
    steps = {"steps": [{"weight": one, "hold": "manual"} for one in (10, 25)], "analysis": QUICK}
    site.apply("v1", **spec, rollout=steps)
    await until(site, promoted)
    async with asking(EVEN.port) as tally:
        site.apply("v2", **spec, rollout=steps, paused=True)
        await until_answers(halves)  # before it has any weight
        site.apply("v2", **spec, rollout=steps)
        held = await until(site, ignored)
        await asyncio.to_thread(gateway.heed, True)
        heeded = await until(site, lambda one: fact(one, "Reconciling").get("reason") == "WaitingForPromote")
        await asyncio.to_thread(gateway.heed, False)
        await until_answers(halves)
        site.command("promote", f"{heeded['status']['candidate']['revision']}/1@2026-01-01T00:00:01Z")
        again = await until(site, lambda one: weight(one) == 25 and ignored(one))
        site.apply("v2", **spec, rollout={**steps, "progressDeadline": "5s"})
        back = await until(site, lambda one: fact(one, "Stalled") and "rollout" not in one["status"])
        await until(site, lambda one: len(site.children("deployments")) == 1)
    left = await until_answers(lambda versions: versions["v1"] == ASKED)
    told = {"held": held, "heeded": heeded, "again": again, "back": back}
    return {name: shown(one) for name, one in told.items()} | {"steady": tally.shown(), "left": left.shown()}


async def until_answers(holds: Callable[[Counter[str]], bool]) -> Tally:
    """What a hundred requests were told when it was what it should be, or when it was too late."""
    end = time.monotonic() + PATIENCE
    while True:
        tally = await so_often([Http1((HERE, EVEN.port), HOST).ask], ASKED)
        if holds(tally.versions) or time.monotonic() > end:
            return tally


def halves(versions: Counter[str]) -> bool:
    return versions["v2"] > ASKED / 3


def ignored(one: Object) -> bool:
    return fact(one, "RouteReady").get("reason") == fact(one, "Reconciling").get("reason") == "WeightIgnored"


def shown(one: Object) -> Mapping[str, Any]:
    """Conditions, and what was held against the candidate."""
    parts = ("status", "reason", "message")
    conditions = {each["type"]: [each[part] for part in parts] for each in one["status"]["conditions"]}
    return {**conditions, "weight": weight(one), "rejected": one["status"].get("rejected", [])}


async def both(site: Site, other: Site, gateway: EvenGateway, hold: str, analysis: Object) -> dict[str, Any]:
    counted, unheeded = await asyncio.gather(counted_canary(site, hold, analysis), unheeded_canary(other, gateway))
    return {"counted": counted, "unheeded": unheeded}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hold", default="1s", help="of each step of the canary that is counted [1s]")
    parser.add_argument("--defaults", action="store_true", help="judge it by the defaults, not as quickly as possible")
    asked = parser.parse_args()
    take_addresses()
    with tempfile.TemporaryDirectory() as folder, real_gateway(Path(folder)) as site:
        other = Site(site.plane, site.plane.new_namespace())
        other.mount(bundles(Path(folder) / "other"))
        (config := Path(folder) / "even").mkdir()
        with EvenGateway(site.plane, other.namespace, EVEN, config) as gateway:
            told = asyncio.run(both(site, other, gateway, asked.hold, {} if asked.defaults else QUICK))
    print(json.dumps(told))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
