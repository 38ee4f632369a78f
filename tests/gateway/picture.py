"""The README's picture: a canary through a real gateway while clients ask, as `tidegate dashboard` shows it.

`make canary-picture`, after a change of the page; in a network of its own.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from playwright.sync_api import sync_playwright
from tests.browser.chromium import find
from tests.browser.served import served
from tests.cluster.operating import Site, fact
from tests.gateway.canary import ROUTING, Canary, clients_of
from tests.gateway.clients import Tally, opened, steadily
from tests.gateway.own_network import take_addresses, unshare
from tests.gateway.world import real_gateway

PICTURE = Path(__file__).parents[2] / "docs/canary.png"
SIZE = {"width": 1280, "height": 1420}
NAMESPACE = "payments"
INSIDE = "--inside"
SCALING = {"minReplicas": 3}
ROLLOUT = {
    "steps": [{"weight": 10, "hold": "5s"}, {"weight": 30, "hold": "manual"}, {"weight": 60, "hold": "5m"}],
    "analysis": {
        "interval": "1s", "warmup": "0s", "minRequests": 200, "maxErrorRate": 0.01, "maxLatency": {"p99": "250ms"},
    },
}  # fmt: skip
ENOUGH = 1000  # requests of the candidate, for a share that is near its weight
EVERY = 0.02  # seconds from one request of a client to the next


async def play(site: Site, folder: Path, picture: Path) -> None:
    canary = Canary(site)
    site.apply("v1", routing=ROUTING, scaling=SCALING)
    await canary.until(lambda one: fact(one, "Promoted").get("status") == "True")
    over, tally = asyncio.Event(), Tally()
    async with AsyncExitStack() as stack:
        asks = await stack.enter_async_context(opened(list(clients_of().values())))
        clients = asyncio.create_task(steadily(asks, tally, over, lambda: EVERY))
        site.apply("v2", routing=ROUTING, scaling=SCALING, rollout=ROLLOUT)
        await canary.at(30)
        await canary.until(lambda one: one["status"]["rollout"]["measurements"]["candidate"]["requests"] >= ENOUGH)
        await asyncio.to_thread(take, site, folder, picture)
        over.set()
        await clients
    assert not tally.failures, tally.failures[:5]


def take(site: Site, folder: Path, picture: Path) -> None:
    chromium = find()
    kubeconfig = site.plane.client.kubeconfig(folder / "kubeconfig", site.namespace)
    with sync_playwright() as playwright, served("-n", site.namespace, kubeconfig=kubeconfig) as dashboard:
        browser = playwright.chromium.launch(
            executable_path=chromium.program, args=chromium.flags, env=chromium.environment
        )
        page = browser.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
        page.goto(dashboard.address)
        page.locator(".card").first.wait_for()
        page.goto(f"{dashboard.address.partition('#')[0]}#/{site.namespace}/{site.name}")
        page.locator("#detail h1").first.wait_for()
        page.wait_for_timeout(700)  # transitions
        page.screenshot(path=picture)
        browser.close()


def main(picture: Path) -> None:
    take_addresses()
    with tempfile.TemporaryDirectory() as name, real_gateway(Path(name)) as elsewhere:
        plane, folder = elsewhere.plane, Path(name)
        plane.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        site = Site(plane, NAMESPACE)
        site.mount(folder / "store")
        asyncio.run(play(site, folder, picture))


if __name__ == "__main__":
    if INSIDE in sys.argv:
        main(PICTURE)
    else:
        find()  # fetched where there is a network
        sys.exit(subprocess.call([*unshare(), sys.executable, "-m", "tests.gateway.picture", INSIDE]))
