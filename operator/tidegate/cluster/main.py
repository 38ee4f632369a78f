"""The operator's process: watch, lead, reconcile, answer probes; and end in order.

A standby watches too: whoever follows need not list a cluster first (three seconds with 2,000 deployments).  Nothing is
reconciled before we lead and every kind has been listed once: a cache that is half full would look like a cluster that
has lost its servers.

At the end, in this order: workers finish the turn they are in (a write border), the lease is handed over, then the
watches end.  A lease that is lost ends the process at once and without another write; Kubernetes starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from tidegate.api.network import Peer
from tidegate.api.status import ModelDeploymentStatus
from tidegate.cluster import logs
from tidegate.cluster.api import Key
from tidegate.cluster.asking import hear
from tidegate.cluster.connection import Connection
from tidegate.cluster.courses import Courses
from tidegate.cluster.errors import ClusterError
from tidegate.cluster.events import Recorder
from tidegate.cluster.gateways import GatewayReader
from tidegate.cluster.kube import Kube, KubeLease
from tidegate.cluster.lease import Elector
from tidegate.cluster.limit import MOST, Limit
from tidegate.cluster.login import Login, log_in
from tidegate.cluster.measure import Measurer
from tidegate.cluster.metrics import Metrics
from tidegate.cluster.nodes import NodeReader
from tidegate.cluster.probes import Probes, Pulse, watches_heard
from tidegate.cluster.prometheus import Prometheus
from tidegate.cluster.queue import WorkQueue
from tidegate.cluster.reconcile import Reconciler, Surroundings
from tidegate.cluster.seen import Cache
from tidegate.cluster.settings import OperatorSettings
from tidegate.cluster.showing import Showing
from tidegate.cluster.tracing import Traced, Traces
from tidegate.cluster.trust import AFTER_TROUBLE_SECONDS, AGAIN_SECONDS, OwnToken, try_access
from tidegate.cluster.watch import Watches, cancelled
from tidegate.cluster.workers import Workers
from tidegate.plan.manifests.identity import MODEL_DEPLOYMENT, ROUTE_KINDS, Kind, Owner
from tidegate.plan.manifests.platform import Network, Platform
from tidegate.plan.wanted import Plan

if TYPE_CHECKING:
    from tidegate.cluster.metrics_api.keeping import MetricsApi
    from tidegate.cluster.spans import OtlpExporter

LAST_TURN_SECONDS, LAST_ROWS_SECONDS = 5.0, 2.0
AGAIN_SOON = 1.0  # seconds
KINDS_EVERY, KINDS_PATIENCE = 20.0, 5.0
LEASE_CONNECTIONS = 2

log = logging.getLogger(__name__)


def operate(settings: OperatorSettings) -> int:
    """Run until a signal or the loss of the lease; the exit code."""
    logs.configure(settings.log_level)
    return asyncio.run(_live(settings))


async def _live(settings: OperatorSettings) -> int:
    login = await log_in(settings.kubeconfig, settings.context)
    return await Operator(settings, login).run()


def platform_of(settings: OperatorSettings) -> Platform:
    """What every deployment is given; the operator's pods are in the namespace of its lease."""
    network = Network(
        metrics=(Peer(namespace=settings.lease_namespace), *settings.metrics_peers),
        stores=settings.store_networks,
        store_ports=settings.store_ports,
        identity=settings.identity_endpoints,
    )
    access = None if settings.token_file else ""
    return Platform(settings.runtime_image, access, network, settings.prometheus if settings.keda else None)


def exporter_of(settings: OperatorSettings) -> OtlpExporter | None:
    """Who sends spans, if anybody wants them."""
    if not settings.otlp_endpoint:
        return None
    from tidegate.cluster.spans import OtlpExporter

    return OtlpExporter(settings.otlp_endpoint, settings.identity)


class Operator:
    """One life of the operator."""

    def __init__(self, settings: OperatorSettings, login: Login) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._platform = platform_of(settings)
        self._token = OwnToken(settings.token_file)
        self._showing: Showing | None = None
        self._cache, self._queue = Cache(self._show), WorkQueue()
        if settings.dashboard_port is not None:
            self._showing = Showing(settings, self._cache, settings.dashboard_port)
        self._metrics = metrics = Metrics()
        self._lease_connection = Connection(
            login.client(LEASE_CONNECTIONS), lambda verb, *rest: metrics.requested(f"lease-{verb}", *rest)
        )
        lease = KubeLease(self._lease_connection, settings.lease_namespace, settings.lease_name)
        self._watches = Watches(
            login, self._cache, self._queue.add, settings.namespaces, self._requested, keda=settings.keda
        )
        self._elector = Elector(lease, settings.identity, able=self._watches.filled.is_set)
        self._connection = Connection(login.client(MOST, self._elector.holds), metrics.requested)
        self._kube = kube = Kube(self._connection, Limit(), self._elector.left)
        self._recorder = Recorder(kube.create_event, settings.identity, metrics.told)
        self._courses = Courses(kube, partial(datetime.now, UTC), self._is_there)
        self._prometheus = Prometheus(settings.prometheus, settings.prometheus_credentials)
        measurer = Measurer(self._token, settings.measure_concurrency)
        self._metrics_api = self._external_metrics(measurer.room) if settings.metrics_api_address else None
        around = Surroundings(
            api=kube, cache=self._cache, platform=lambda: self._platform,
            measures=measurer,
            tell=self._recorder.record, verdict=metrics.rolled_out, clock=lambda: datetime.now(UTC),
            hear=partial(hear, self._prometheus),
            nodes=NodeReader(kube, allowed=not settings.namespaces).of,
            has=self._watches.listener.lists, gateways=GatewayReader(kube, self._cache.claims),
            chronicle=self._chronicle,
        )  # fmt: skip
        self._spans = exporter_of(settings)
        self._traces = Traces(self._spans) if self._spans else None
        reconciler = Traced(Reconciler(around), self._traces) if self._traces else Reconciler(around)
        self._workers = Workers(self._queue, reconciler, metrics, settings.workers, settings.resync)
        self._pulse = Pulse()
        self._probes = Probes(metrics, self._alive(), {"caches": self._filled})
        self._helpers: list[asyncio.Task[None]] = []

    async def run(self) -> int:
        """From the first probe to the last request; 0 after a signal, 1 when the process must be started again."""
        self._heed_signals()
        self._show_figures()
        port = await self._probes.start(self._settings.probe_host, self._settings.probe_port)
        log.info("probes and metrics on port %d, standing by as %s", port, self._settings.identity)
        self._help(self._pulse.run(), self._recorder.run(), self._courses.run())
        try:
            if self._showing:
                await self._showing.start(self._settings.probe_host)
            return await self._work()
        finally:
            await self._end()

    def _requested(self, verb: str, code: str, seconds: float) -> None:
        self._metrics.requested(verb, code, seconds)
        if self._showing:
            self._showing.requested(verb, code)

    def _show(self, key: Key) -> None:
        if self._showing:
            self._showing.changed(key)

    def _external_metrics(self, room: asyncio.Semaphore) -> MetricsApi:
        from tidegate.cluster.metrics_api.keeping import (  # certificates: 10 MB where nobody needs them
            MetricsApi,
            Place,
        )
        from tidegate.cluster.metrics_api.load import Loads
        from tidegate.cluster.metrics_api.server import MetricsServer

        settings = self._settings
        place = Place(settings.metrics_api_address, settings.metrics_api_port, settings.lease_namespace)
        server = MetricsServer(Loads(self._cache, room), self._cache.knows, self._metrics.asked)
        api = MetricsApi(self._connection, place, server)
        self._metrics.show(
            "tidegate_metrics_api", "Whether external metrics are served by this process.", lambda: float(api.holds)
        )
        return api

    def _alive(self) -> dict[str, Any]:
        return {
            "loop": self._pulse.check,
            "watches": watches_heard(self._watches.listener.ages),
            "lease": lambda: "it is neither renewed nor given up" if self._elector.overdue() else "",
        }

    def _filled(self) -> str:
        missing = self._watches.listener.missing()
        return f"not listed yet: {', '.join(missing)}" if missing else ""

    def _show_figures(self) -> None:
        show = self._metrics.show
        show("tidegate_leader", "Whether this process leads.", lambda: float(self._elector.holds()))
        show("tidegate_queue_depth", "Deployments that wait for a worker.", lambda: float(self._queue.depth))
        show("tidegate_queue_age_seconds", "How long the first of them has waited.", lambda: self._queue.age)
        show("tidegate_deployments", "ModelDeployments that are known.", lambda: float(len(self._cache.deployments())))
        self._metrics.show_by(
            "tidegate_watch_age_seconds", "Since a kind was last heard of.", "kind", self._watches.listener.ages
        )

    def _is_there(self, owner: Owner) -> bool:
        found = self._cache.get(MODEL_DEPLOYMENT, owner.namespace, owner.name)
        return found is not None and found["metadata"]["uid"] == owner.uid

    def _chronicle(self, owner: Owner, before: ModelDeploymentStatus, plan: Plan) -> None:
        for decision in plan.decisions:
            logs.decided(decision)
        self._courses.chronicle(owner, plan)
        if self._traces:
            self._traces.chronicle(owner, before, plan, datetime.now(UTC))

    def _heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

    def _help(self, *work: Coroutine[Any, Any, None]) -> None:
        self._helpers += [asyncio.create_task(one) for one in work]

    async def _work(self) -> int:
        """Watch, work as soon as we lead, until told to stop or until one of the two cannot go on."""
        over = asyncio.Event()
        self._queue.stand_by()
        watching = asyncio.create_task(self._watch(over))
        ends = [asyncio.create_task(event.wait()) for event in (self._stop, self._elector.lost)]
        leading = asyncio.create_task(self._lead())
        try:
            await asyncio.wait({watching, leading, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if leading.done():
                leading.result()
                self._queue.begin(self._cache.deployments())
                self._workers.start()
            await asyncio.wait({watching, *ends}, return_when=asyncio.FIRST_COMPLETED)
            await cancelled({leading})
            if self._elector.lost.is_set():
                await self._workers.finish(0.0)
            else:
                await self._workers.finish(LAST_TURN_SECONDS)
                await self._courses.finish(LAST_ROWS_SECONDS)
            await self._elector.release()
        finally:
            for task in (leading, *ends):
                task.cancel()
            over.set()
            code = await self._watched(watching)
        return code

    async def _watch(self, over: asyncio.Event) -> None:
        """All kinds, those that only some clusters have included: a route not seen yet must not look like none."""
        finding, ending = asyncio.create_task(self._find_kinds()), asyncio.create_task(over.wait())
        await asyncio.wait({finding, ending}, return_when=asyncio.FIRST_COMPLETED)
        await cancelled({one for one in (finding, ending) if not one.done()})
        if not over.is_set():
            self._watches.listener.expect(finding.result())
            if not self._settings.namespaces:  # there no kinds are looked for
                self._help(self._notice_kinds())
            await self._watches.run(over, self._heed_signals)

    async def _find_kinds(self) -> frozenset[Kind]:
        while True:
            try:
                return await self._kube.has(ROUTE_KINDS)
            except ClusterError as error:
                log.warning("the cluster does not say which kinds it has: %s", error)
                await asyncio.sleep(AGAIN_SOON)

    async def _notice_kinds(self) -> None:
        """Kinds that the cluster has got and nobody watches: once for each, for a right may be what is missing."""
        tried: frozenset[Kind] = frozenset()
        while True:
            await asyncio.sleep(KINDS_EVERY)
            if not await self._unwatched() - tried:
                continue
            await asyncio.sleep(KINDS_PATIENCE)
            if found := await self._unwatched() - tried:
                tried |= found
                log.warning("the cluster has %s, unwatched: watches begin anew", ", ".join(one.plural for one in found))
                self._watches.begin_anew()

    async def _unwatched(self) -> frozenset[Kind]:
        unknown = [kind for kind in ROUTE_KINDS if not self._watches.listener.lists(kind)]
        try:
            return await self._kube.has(unknown) if unknown else frozenset()
        except ClusterError:
            return frozenset()

    async def _lead(self) -> None:
        """Until we lead, and have all that a turn works with: every kind, and what servers may believe."""
        await self._elector.acquire()
        began = time.monotonic()
        await self._read_deployments()
        await self._refresh_access()
        self._help(self._keep_access())
        if self._metrics_api:
            self._help(self._metrics_api.run())
        log.info("everything is at hand after %.1f s", time.monotonic() - began)

    async def _read_deployments(self) -> None:
        """Their statuses as the last leader has left them: a watch may lag, and where a plan changes nothing of the
        status no compare-and-swap would tell."""
        for namespace in self._settings.namespaces or (None,):
            while not await self._read_all(namespace):  # noqa: ASYNC110 - or until the lease is lost
                await asyncio.sleep(AGAIN_SOON)

    async def _read_all(self, namespace: str | None) -> bool:
        try:
            found = await self._kube.list(MODEL_DEPLOYMENT, namespace, "")
        except ClusterError as error:
            log.warning("the deployments cannot be read: %s", error)
            return False
        for deployment in found:
            self._cache.put(MODEL_DEPLOYMENT, deployment)
        return True

    async def _watched(self, watching: asyncio.Task[None]) -> int:
        """What the end of the watches means."""
        try:
            await watching
        except Exception:
            log.exception("the watches have ended: starting anew")
            return 1
        return 1 if self._elector.lost.is_set() else 0

    async def _refresh_access(self) -> bool:
        """Whether what servers may believe has changed."""
        access = await try_access(self._connection, self._token, self._platform.access)
        if access == self._platform.access:
            return False
        self._platform = replace(self._platform, access=access)
        return True

    async def _keep_access(self) -> None:
        while True:
            known = self._platform.access or self._settings.token_file is None
            await asyncio.sleep(AGAIN_SECONDS if known else AFTER_TROUBLE_SECONDS)
            if await self._refresh_access():
                for key in self._cache.deployments():
                    self._queue.add(key)

    async def _end(self) -> None:
        for task in self._helpers:
            task.cancel()
        await asyncio.gather(*self._helpers, return_exceptions=True)
        with contextlib.suppress(Exception):  # whatever it is, the process ends
            await self._elector.release()
        if self._spans:
            self._spans.stop()
        await self._probes.stop()
        if self._showing:
            await self._showing.stop()
        await self._prometheus.close()
        await self._connection.close()
        await self._lease_connection.close()
        log.info("ended")
