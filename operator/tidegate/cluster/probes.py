"""What the kubelet and Prometheus ask of the operator: `/livez`, `/readyz`, `/metrics`.

kopf's own endpoint answers 200 as long as its loop turns, whatever has become of its watches.  Here each question is
answered by a list of checks, which say what is wrong; the page shows them all.  Alive: the loop keeps time, every watch
was heard of lately, the lease is renewed or given up.  Ready: the caches are filled, whoever leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from aiohttp import web
from aiohttp.typedefs import Handler

from tidegate.cluster.metrics import Metrics
from tidegate.errors import Failed

TICK_SECONDS = 1.0
LAG_SECONDS = 5.0
SILENCE_SECONDS = 150.0

Check = Callable[[], str]  # what is wrong, or nothing
Checks = Mapping[str, Check]


class Pulse:
    """How late the event loop is: a task that wants to run every second, and how much later it did."""

    def __init__(self) -> None:
        self.lag = 0.0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wanted = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self.lag = max(0.0, loop.time() - wanted)

    def check(self) -> str:
        return f"the event loop was {self.lag:.1f} s late" if self.lag > LAG_SECONDS else ""


def watches_heard(ages: Callable[[], Mapping[str, float]], most: float = SILENCE_SECONDS) -> Check:
    """A check that no watch has been silent too long; while nothing is watched there is nothing to hear."""

    def check() -> str:
        silent = [f"{kind} for {age:.0f} s" for kind, age in sorted(ages().items()) if age > most]
        return f"nothing was heard of {', '.join(silent)}" if silent else ""

    return check


class Probes:
    """The server of the three pages; start it before kopf, whose end would take its tasks along."""

    def __init__(self, metrics: Metrics, alive: Checks, ready: Checks) -> None:
        self._metrics = metrics
        self._app = web.Application()
        self._app.router.add_get("/livez", page_of(alive))
        self._app.router.add_get("/readyz", page_of(ready))
        self._app.router.add_get("/metrics", self._show_metrics)
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1)

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that it became, where 0 was asked for."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise Failed(
                f"cannot listen: {error.strerror or error}", where=f"{host}:{port}", do="choose another --probe-port",
                reason="PortTaken",
            ) from None  # fmt: skip
        address: tuple[str, int] = self._runner.addresses[0]
        return address[1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _show_metrics(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.Response(body=self._metrics.page(), headers={"Content-Type": "text/plain; version=0.0.4"})


def page_of(checks: Checks) -> Handler:
    async def answer(request: web.Request) -> web.Response:  # noqa: ARG001
        found = {name: check() for name, check in checks.items()}
        lines = [f"{name}: {problem or 'ok'}\n" for name, problem in found.items()]
        return web.Response(text="".join(lines), status=503 if any(found.values()) else 200)

    return answer
