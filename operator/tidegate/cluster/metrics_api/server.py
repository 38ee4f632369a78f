"""HTTPS for the API server: discovery and values of `external.metrics.k8s.io`, with limits on everything.

A new certificate, or another authority of the front proxy, takes effect with the next connection: each handshake is
given the context of the moment, and nobody's connection ends.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from tidegate.cluster.api import Key
from tidegate.cluster.metrics_api.documents import (
    GROUP,
    GROUP_VERSION,
    Document,
    Problem,
    group,
    resources,
    status,
    subject_of,
    values,
)
from tidegate.cluster.metrics_api.front_proxy import FrontProxy
from tidegate.errors import Failed, Temporary
from tidegate.plan.load import MEASURES, Window

MOST_AT_ONCE = 64  # questions: an autoscaler asks one at a time, and a cluster has one or a few of them
HANDSHAKE_SECONDS = 5.0
KEPT_SECONDS = 75.0
ROOT = f"/apis/{GROUP_VERSION}"
AGAIN_SECONDS = 1

log = logging.getLogger(__name__)


class Reads(Protocol):
    """Who knows what servers have counted, as `load.Loads` does."""

    async def windows(self, key: Key, revision: str = "") -> tuple[list[Window], int]: ...


class MetricsServer:
    """Answers as soon as it is told whom to believe; `known` says whether there is such a ModelDeployment."""

    def __init__(self, loads: Reads, known: Callable[[Key], bool], counted: Callable[[int], None]) -> None:
        self._loads = loads
        self._known = known
        self._counted = counted
        self._proxy = FrontProxy("", frozenset())
        self._context: ssl.SSLContext | None = None
        self._asked = 0
        self._listening: asyncio.Server | None = None
        app = web.Application(middlewares=[self._answered])
        app.router.add_get("/apis", self._groups)
        app.router.add_get(f"/apis/{GROUP}", self._group)
        app.router.add_get(ROOT, self._resources)
        app.router.add_get(f"{ROOT}/namespaces/{{namespace}}/{{metric}}", self._value)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, keepalive_timeout=KEPT_SECONDS)

    def believe(self, proxy: FrontProxy, context: ssl.SSLContext) -> None:
        """From the next connection on: who may ask, and what we show them."""
        self._proxy, self._context = proxy, context

    async def start(self, host: str, port: int) -> int:
        """Listen, unless we do; the port that it became, where 0 was asked for."""
        if self._listening is None:
            self._listening = await self._listen(host, port)
        return int(self._listening.sockets[0].getsockname()[1])

    async def _listen(self, host: str, port: int) -> asyncio.Server:
        first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        first.sni_callback = self._hand_over
        first.verify_mode = ssl.CERT_REQUIRED
        # Nobody goes on by a ticket of before with a certificate that would not be believed any more.
        first.options |= ssl.OP_NO_TICKET
        first.num_tickets = 0
        if self._runner.server is None:
            await self._runner.setup()
        assert self._runner.server
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_server(
                self._runner.server, host, port, ssl=first, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except OSError as error:
            raise Failed(
                f"cannot listen: {error.strerror or error}", where=f"{host}:{port}",
                do="choose another --metrics-api-port", reason="PortTaken",
            ) from None  # fmt: skip

    async def stop(self) -> None:
        if self._listening:
            self._listening.close()
        await self._runner.cleanup()

    def _hand_over(self, connection: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> int | None:  # noqa: ARG002
        if self._context is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._context
        return None

    # -- answers

    @web.middleware
    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._admit(request)
            response = await handler(request)
        except Problem as problem:
            response = refused(problem)
        except web.HTTPMethodNotAllowed:
            response = refused(Problem(405, "these are read-only: GET"))
        except web.HTTPNotFound:
            response = refused(Problem(404, f"there is nothing at {request.path[:256]}: see {ROOT}"))
        except Exception:  # a fault here must not leave an autoscaler without an answer
            log.exception("a bug: %s", request.path)
            response = refused(Problem(500, "a bug in the operator: its log says more"))
        self._counted(response.status)
        return response

    def _admit(self, request: web.Request) -> None:
        if not self._proxy.admits(request.get_extra_info("peercert")):
            raise Problem(401, "only the API server's front proxy is answered: ask the API server")

    async def _groups(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]})

    async def _group(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.json_response(group())

    async def _resources(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.json_response(resources(MEASURES))

    async def _value(self, request: web.Request) -> web.Response:
        if self._asked >= MOST_AT_ONCE:
            raise Problem(429, f"{MOST_AT_ONCE} questions are being answered", AGAIN_SECONDS)
        self._asked += 1
        try:
            named = request.match_info
            selector = request.query.get("labelSelector", "")
            return web.json_response(await self._measured(named["namespace"], named["metric"], selector))
        finally:
            self._asked -= 1

    async def _measured(self, namespace: str, metric: str, selector: str) -> Document:
        if metric not in MEASURES:
            raise Problem(404, f"there is no metric {metric[:64]!r}: there are {', '.join(MEASURES)}")
        subject = subject_of(selector)
        key = (namespace, subject.deployment)
        if not self._known(key):
            raise Problem(404, f"there is no ModelDeployment {subject.deployment!r} in namespace {namespace!r}")
        try:
            windows, servers = await self._loads.windows(key, subject.revision)
        except Temporary as error:
            raise Problem(503, error.what, AGAIN_SECONDS) from None
        value = MEASURES[metric](windows, servers)
        if value is None:
            raise Problem(503, f"the servers of {subject.deployment} do not tell {metric}", AGAIN_SECONDS)
        return values(metric, subject, value, datetime.now(UTC), longest(windows))


def longest(windows: Sequence[Window]) -> float:
    return max(window.seconds for window in windows)


def refused(problem: Problem) -> web.Response:
    again = {"Retry-After": str(problem.again)} if problem.again else {}
    return web.json_response(status(problem), status=problem.code, headers=again)
