"""What gateways support, and why a route is of no use where nothing in it says so.

A controller that runs says what it thinks of a route within moments.  Only when it does not is its Gateway read, and
the class of that: neither is watched, and most deployments never need it.  Where the operator may not read them,
sentences go without.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

from tidegate.api.routing import ParentRef, RouteRef, Routing
from tidegate.cluster.api import Key, Object
from tidegate.cluster.claims import Claims
from tidegate.cluster.errors import Forbidden
from tidegate.cluster.failures import environment
from tidegate.cluster.observe import Look
from tidegate.plan.manifests.identity import GATEWAY_API, Kind, Owner, candidate_name
from tidegate.plan.manifests.parents import Parent, objection
from tidegate.plan.manifests.routes import kinds_of
from tidegate.plan.manifests.shared import usable
from tidegate.plan.observed import Failure
from tidegate.plan.wanted import Plan

GATEWAY = Kind(GATEWAY_API, "Gateway", "gateways")
GATEWAY_CLASS = Kind(GATEWAY_API, "GatewayClass", "gatewayclasses")
TIMEOUTS = "HTTPRouteRequestTimeout"
FEATURES_SECONDS = 600.0  # between two looks at what a class supports
SHARED_AGAIN = timedelta(seconds=1)  # in a rollout
SILENT_SECONDS = 2.0  # a controller needs some hundredths


class Gets(Protocol):
    """Who reads one object, as `Kube.get` does."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None: ...


def not_installed(kinds: Iterable[Kind]) -> Failure:
    """The cluster lacks kinds of the Gateway API."""
    names = " and ".join(kind.kind for kind in kinds)
    do = "install the Gateway API's CRDs (standard channel), or write routing.provider: Service"
    return environment("GatewayAPIMissing", f"this cluster has no {names}", do)


def unshared(owner: Owner, reference: RouteRef, route: Object | None) -> Failure | None:
    """Why somebody else's route cannot split our requests."""
    if route is None:
        what = f"there is no {reference.kind} {reference.name}"
        return environment("RouteMissing", what, "create it, or correct routing.existingRouteRef")
    if usable(owner, route):
        return None
    what = (
        f"no rule of {reference.kind} {reference.name} has backendRefs to both {owner.name} and {candidate_name(owner)}"
    )
    return environment("RouteMissing", what, "add them, with the weights 100 and 0")


def taken_by(name: str, key: Key) -> Failure:
    """Another deployment of ours has had a host name at a gateway for longer."""
    what = f"{name} is routed by ModelDeployment {'/'.join(key)} at the same Gateway"
    return environment("HostnameTaken", what, "choose another host name, or take it away there")


class GatewayReader:
    """Looks for the reason of a silence; one of moments is none."""

    def __init__(self, api: Gets, claims: Claims, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._claims = claims
        self._clock = clock
        self._known: dict[Key, tuple[frozenset[str], float]] = {}
        self._silent_since: dict[Owner, float] = {}

    async def seen(self, look: Look, routing: Routing, served: Collection[Kind]) -> Look:
        """The look, with the routes that split the requests, and what no route says about itself."""
        look = replace(look, routes=kinds_of(routing))
        if missing := [kind for kind in look.routes if kind not in served]:
            return replace(look, trouble=not_installed(missing))
        if reference := routing.existing_route_ref:
            shared = await self._api.get(look.routes[0], look.owner.namespace, reference.name)
            look = replace(look, seen=replace(look.seen, shared=shared))
            if trouble := unshared(look.owner, reference, shared):
                return replace(look, trouble=trouble)
        trouble = await self.trouble(look)
        pending = trouble is None and self.again(look.owner) is not None
        timeouts = await self.heed_timeouts(look.owner, routing.parent_refs)
        return replace(look, trouble=trouble, pending=pending, timeouts=timeouts)

    async def trouble(self, look: Look) -> Failure | None:
        """What is wrong with the gateways of a deployment's routes; None while they speak, or may be about to."""
        routes = [(kind, live) for kind in look.routes if (live := look.live(kind))]
        if taken := next((found for kind, route in routes if (found := self._claims.rival(kind, route))), None):
            return taken_by(*taken)
        silent = [said for _, route in routes if (said := objection(route)) and said.silent]
        if self._for_moments(look.owner, silent=bool(silent)):
            return None
        try:
            return await self._why_silent(silent[0].parent)
        except Forbidden:
            return None

    async def heed_timeouts(self, owner: Owner, parents: Iterable[ParentRef]) -> bool:
        """Whether the classes of all gateways list timeouts among what they support."""
        names = [(one.namespace or owner.namespace, one.name) for one in parents]
        return bool(names) and all([TIMEOUTS in await self._features(key) for key in names])

    async def _features(self, gateway: Key) -> frozenset[str]:
        known, until = self._known.get(gateway, (frozenset[str](), 0.0))
        if self._clock() >= until:
            known = await self._read_features(gateway)
            self._known[gateway] = known, self._clock() + FEATURES_SECONDS
        return known

    async def _read_features(self, gateway: Key) -> frozenset[str]:
        try:
            found = await self._api.get(GATEWAY, *gateway)
            name = str(found["spec"].get("gatewayClassName")) if found else ""
            its_class = await self._api.get(GATEWAY_CLASS, "", name) if name else None
        except Forbidden:
            return frozenset()
        features = ((its_class or {}).get("status") or {}).get("supportedFeatures") or ()
        return frozenset(str(one.get("name")) for one in features)

    def next_look(self, look: Look, plan: Plan) -> timedelta | None:
        """When routes are to be looked at again though nothing wakes us: somebody else's is not watched."""
        return SHARED_AGAIN if look.seen.shared and plan.status.rollout else self.again(look.owner)

    def again(self, owner: Owner) -> timedelta | None:
        """When it is to be asked again, because a silence may be more than one of moments by then."""
        since = self._silent_since.get(owner)
        left = None if since is None else since + SILENT_SECONDS - self._clock()
        return timedelta(seconds=left) if left and left > 0 else None

    def _for_moments(self, owner: Owner, *, silent: bool) -> bool:
        if not silent:
            self._silent_since.pop(owner, None)
            return True
        return self._clock() - self._silent_since.setdefault(owner, self._clock()) < SILENT_SECONDS

    async def _why_silent(self, parent: Parent) -> Failure:
        gateway = await self._api.get(GATEWAY, parent.namespace, parent.name)
        if gateway is None:
            what = f"there is no Gateway {parent.namespace}/{parent.name}"
            return environment("GatewayMissing", what, "create it, or correct routing.parentRefs")
        listeners = [str(one.get("name")) for one in gateway["spec"].get("listeners") or ()]
        if parent.section and parent.section not in listeners:
            there = f"Gateway {parent.namespace}/{parent.name}"
            what = f"{there} has no listener {parent.section}, it has {', '.join(listeners)}"
            return environment("GatewayMissing", what, "correct sectionName in routing.parentRefs")
        return await self._nobody_answers(parent, str(gateway["spec"].get("gatewayClassName")))

    async def _nobody_answers(self, parent: Parent, class_name: str) -> Failure:
        found: dict[str, Any] | None = await self._api.get(GATEWAY_CLASS, "", class_name)
        if found is None:
            what = f"there is no GatewayClass {class_name}, which {parent} is of"
            return environment("GatewayMissing", what, "install its controller, or correct the Gateway")
        what = f"{parent} says nothing of this route: does its controller {found['spec'].get('controllerName')} run"
        return environment("RouteNotReady", what, "look at its log, and whether it watches this Gateway and namespace")
