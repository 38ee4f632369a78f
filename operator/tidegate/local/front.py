"""What every deployment of a run wants routed, put together for the one proxy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tidegate.api.spec import ModelDeploymentSpec
from tidegate.local.proxy import Proxy, ProxyFailed
from tidegate.local.routes import Backend, ModelRoute
from tidegate.local.servers import Fleet
from tidegate.plan.observed import RouteObserved
from tidegate.plan.wanted import Plan


class Front:
    """The proxy as the deployments see it: each sets its own route and reads what is in effect."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self._routes: dict[str, ModelRoute] = {}
        self._problem = ""

    @property
    def routes(self) -> tuple[ModelRoute, ...]:
        return tuple(self._routes.values())

    def add(self, route: ModelRoute) -> None:
        """Know a deployment before the proxy is told of it."""
        self._routes[route.model] = route

    async def set(self, route: ModelRoute) -> None:
        """Have the proxy route one deployment so; a failure is observed, and tried again with the next plan."""
        self._routes[route.model] = route
        await self._publish()

    async def remove(self, model: str) -> None:
        self._routes.pop(model, None)
        await self._publish()

    async def _publish(self) -> None:
        try:
            await self.proxy.publish(self.routes)
            self._problem = ""
        except (ProxyFailed, OSError) as error:
            self._problem = str(error)

    def observed(self, model: str) -> RouteObserved:
        """The split that the proxy has taken, not the one that was asked for."""
        taken = next((route for route in self.proxy.acknowledged or () if route.model == model), None)
        weights = dict(taken.weights) if taken else {}
        return RouteObserved(weights=weights, accepted=not self._problem, message=self._problem, url=self.url(model))

    def url(self, model: str) -> str:
        host = self.proxy.listen.host
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.proxy.listen.port}/v2/models/{model}"


def wanted_route(
    model: str, spec: ModelDeploymentSpec, plan: Plan, fleet: Fleet, before: ModelRoute | None
) -> ModelRoute:
    """The route of a plan with the servers that are there now."""
    records = {wanted.record.revision: wanted.record for wanted in plan.revisions}
    backends = tuple(
        Backend(
            revision,
            record.number,
            record.resolution.version,
            ports(fleet, revision, known_ports(before)),
            tls=record.runtime.tls is not None,
        )
        for revision, record in sorted(records.items())
    )
    return ModelRoute(
        model,
        hostnames=spec.routing.hostnames,
        headers=spec.routing.headers,
        pin=plan.pin,
        weights={revision: weight for revision, weight in plan.weights.items() if revision in records},
        backends=backends,
    )


def known_ports(route: ModelRoute | None) -> Mapping[str, tuple[int, ...]]:
    return {backend.revision: backend.ports for backend in route.backends} if route else {}


def ports(fleet: Fleet, revision: str, known: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Where a revision answers.

    When its last server has died the port stays: Envoy then tries to connect again for some seconds, in which the
    next server may come up, instead of refusing at once.
    """
    ready = tuple(sorted(server.http_port for server in fleet.of(revision) if server.ready))
    return ready or known.get(revision, ())


def with_ports(route: ModelRoute, fleet: Fleet) -> ModelRoute:
    """The same route with the servers that are there now."""
    known = known_ports(route)
    backends = tuple(replace(one, ports=ports(fleet, one.revision, known)) for one in route.backends)
    return replace(route, backends=backends)
