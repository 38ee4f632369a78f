"""Routes of the Gateway API: an HTTPRoute for REST, a GRPCRoute for gRPC, each with host names of its own.

    1  the header of `routing.headers`   the candidate; such requests are marked and enter no test
    2  everything else                   by weight; a mark that a client has set is taken off

Every field that the server would fill in is written out, so that nothing ever differs but what somebody has changed.
Both versions stay in the weighted rule for as long as they may get requests, one of them with weight 0: a gateway then
knows the servers of a version before the first request may go there, and a step changes a number and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.api.routing import ParentRef, Routing
from tidegate.plan.manifests.identity import (
    GATEWAY_API,
    GRPC_ROUTE,
    HTTP_ROUTE,
    ROUTE_KINDS,
    Kind,
    Object,
    Owner,
    child_name,
    head,
    metadata,
    route_name,
)
from tidegate.plan.manifests.pods import GRPC_PORT, HTTP_PORT
from tidegate.plan.wanted import Plan

PINNED = "x-tidegate-pinned"
PORTS = {HTTP_ROUTE: HTTP_PORT, GRPC_ROUTE: GRPC_PORT}
MODIFIER = "RequestHeaderModifier"
VERBS = ("predict", "explain")  # of the protocol v1

# Above what the server itself allows (half a minute, and one for a slow body): it is the server that says 504.
REQUEST_TIMEOUT = "2m"

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Gateways:
    """Who splits the requests in the front's place."""

    timeouts: bool = False  # whether their classes say that they heed those of an HTTPRoute


def by_gateway(routing: Routing, served: Collection[Kind]) -> bool:
    """Whether a gateway splits the requests; `served` are the kinds of routes that the cluster has."""
    if routing.provider != "Auto":
        return routing.provider == "GatewayAPI"
    kinds = kinds_of(routing)
    return bool(kinds) and all(kind in served for kind in kinds)


def kinds_of(routing: Routing) -> tuple[Kind, ...]:
    """The kinds of routes that a spec asks for; without any host name REST is served under the model's paths."""
    if routing.existing_route_ref:
        return tuple(kind for kind in ROUTE_KINDS if kind.kind == routing.existing_route_ref.kind)
    if not routing.parent_refs:
        return ()
    rest = (HTTP_ROUTE,) if routing.hostnames or not routing.grpc_hostnames else ()
    return (*rest, GRPC_ROUTE) if routing.grpc_hostnames else rest


def wanted_routes(owner: Owner, routing: Routing, plan: Plan, gateways: Gateways) -> dict[Kind, Object]:
    """The routes of a plan that gives weights."""
    return {kind: _route(owner, routing, plan, kind, gateways) for kind in kinds_of(routing)}


def _route(owner: Owner, routing: Routing, plan: Plan, kind: Kind, gateways: Gateways) -> Object:
    rules = [*_pinning(owner, routing, plan, kind), _weighted(owner, routing, plan, kind)]
    timed = {"timeouts": {"request": REQUEST_TIMEOUT}} if gateways.timeouts and kind == HTTP_ROUTE else {}
    spec = {
        "parentRefs": [_parent(one) for one in routing.parent_refs],
        "hostnames": list(routing.hostnames if kind == HTTP_ROUTE else routing.grpc_hostnames),
        "rules": [{**rule, **timed} for rule in rules],
    }
    return {**head(kind, metadata(owner, route_name(owner, kind))), "spec": spec}


def _parent(parent: ParentRef) -> Fields:
    given = {"name": parent.name, "namespace": parent.namespace, "sectionName": parent.section_name}
    written = {name: value for name, value in given.items() if value is not None}
    return {"group": GATEWAY_API.partition("/")[0], "kind": "Gateway", **written}


def _pinning(owner: Owner, routing: Routing, plan: Plan, kind: Kind) -> Iterator[Fields]:
    if plan.pin is None or not routing.headers:
        return
    headers = [{"type": "Exact", "name": name, "value": value} for name, value in routing.headers.items()]
    yield {
        "matches": [{**match, "headers": headers} for match in _matches(owner, routing, kind) or [{}]],
        "filters": [_modified({"set": [{"name": PINNED, "value": "1"}]})],
        "backendRefs": [_backend(owner, plan.pin, kind, 1)],
    }


def _weighted(owner: Owner, routing: Routing, plan: Plan, kind: Kind) -> Fields:
    matches = _matches(owner, routing, kind)
    return {
        **({"matches": matches} if matches else {}),
        "filters": [_modified({"remove": [PINNED]})],
        "backendRefs": [
            _backend(owner, revision, kind, weight) for revision, weight in sorted(plan.weights.items())
        ],
    }  # fmt: skip


def _matches(owner: Owner, routing: Routing, kind: Kind) -> list[Fields]:
    """All paths of our own host names; else the model's, so that several models can share a listener's."""
    if kind == GRPC_ROUTE:
        return []  # every call, services of health and reflection included
    if routing.hostnames:
        return [_path("PathPrefix", "/")]
    below = [_path("PathPrefix", f"/{protocol}/models/{owner.name}") for protocol in ("v2", "v1")]
    # The verbs of TensorFlow Serving and KServe are no segments of their own: no prefix matches them.
    return [*below, *(_path("Exact", f"/v1/models/{owner.name}:{verb}") for verb in VERBS)]


def _path(type_: str, value: str) -> Fields:
    return {"path": {"type": type_, "value": value}}


def _modified(change: Fields) -> Fields:
    return {"type": MODIFIER, "requestHeaderModifier": change}


def _backend(owner: Owner, revision: str, kind: Kind, weight: int) -> Fields:
    name = child_name(owner, revision)
    return {"group": "", "kind": "Service", "name": name, "port": PORTS[kind], "weight": weight}


# -- reading a live route


def weights_in(owner: Owner, route: Object) -> Mapping[str, int]:
    """Percent by revision, as the weighted rule has it; empty where somebody has made another rule of it."""
    rules = (route.get("spec") or {}).get("rules") or ()
    weights = {name: weight for rule in rules[-1:] for name, weight in _targets(owner, rule)}
    whole = sum(weights.values())
    return {name: round(100 * weight / whole) for name, weight in weights.items()} if whole else {}


def reached_by(owner: Owner, route: Object) -> frozenset[str]:
    """Every revision that any rule sends requests to."""
    rules = (route.get("spec") or {}).get("rules") or ()
    return frozenset(name for rule in rules for name, weight in _targets(owner, rule) if weight)


def _targets(owner: Owner, rule: Object) -> Iterator[tuple[str, int]]:
    prefix = f"{owner.name}-"
    for backend in rule.get("backendRefs") or ():
        name = str(backend.get("name"))
        if name.startswith(prefix):
            yield name.removeprefix(prefix), int(backend.get("weight", 1))
