"""Why a route is of no use, where nothing in it says so."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tidegate.api.routing import ParentRef
from tidegate.cluster.claims import Claims
from tidegate.cluster.errors import Forbidden
from tidegate.cluster.gateways import GATEWAY, GATEWAY_CLASS, GatewayReader, not_installed
from tidegate.cluster.observe import Look, route
from tidegate.plan.manifests.children import Seen
from tidegate.plan.manifests.identity import GRPC_ROUTE, HTTP_ROUTE, Owner

from .test_observe import NEW, NOW, OLD

OWNER = Owner("payments", "fraud", "uid-1")
GATEWAYS = {
    "public": {"spec": {"gatewayClassName": "contour", "listeners": [{"name": "http"}, {"name": "web"}]}},
    "classless": {"spec": {"gatewayClassName": "nobody"}},
    "plain": {"spec": {"gatewayClassName": "plain"}},
}


def http_route(name: str = "public", section: str = "", said: Any = (), **meta: Any) -> dict[str, Any]:
    parent = {"name": name, **({"sectionName": section} if section else {})}
    refs = [{"name": f"fraud-{OLD}", "weight": 90}, {"name": f"fraud-{NEW}", "weight": 10}]
    labels = {"serving.tidegate.io/deployment": "fraud"}
    about = {"name": "fraud", "namespace": "payments", "generation": 2, "labels": labels, **meta}
    return {
        "metadata": about,
        "spec": {"parentRefs": [parent], "hostnames": ["fraud.example.com"], "rules": [{"backendRefs": refs}]},
        "status": {"parents": [{"parentRef": parent, "conditions": list(said)}] if said else []},
    }


def taken(generation: int = 2) -> list[dict[str, Any]]:
    return [{"type": kind, "status": "True", "observedGeneration": generation} for kind in ("Accepted", "ResolvedRefs")]


class Server:
    """Gateways and one class, or a right that is missing."""

    def __init__(self, *, forbidden: bool = False) -> None:
        self.asked: list[str] = []
        self.forbidden = forbidden

    async def get(self, kind: Any, namespace: str, name: str) -> Any:
        self.asked.append(f"{kind.kind} {namespace}/{name}")
        if self.forbidden:
            raise Forbidden("cannot get")
        supported = {"supportedFeatures": [{"name": "HTTPRoute"}, {"name": "HTTPRouteRequestTimeout"}]}
        classes = {"contour": {"spec": {"controllerName": "c/d"}, "status": supported}, "plain": {"spec": {}}}
        found: dict[Any, Any] = {GATEWAY: GATEWAYS, GATEWAY_CLASS: classes}
        return found[kind].get(name)


def look(live: Any, **parts: Any) -> Look:
    seen = Seen(routes={HTTP_ROUTE: live} if live else {})
    deployment = {"metadata": {"name": "fraud", "namespace": "payments"}, "spec": {"bundle": {"uri": "s3://m/1"}}}
    return Look(OWNER, deployment, seen, (), {}, NOW, routes=(HTTP_ROUTE,), **parts)


def told(live: Any, server: Server, seconds: float = 5.0, claims: Claims | None = None) -> str:
    """The sentence after that much silence."""
    now = 0.0
    reader = GatewayReader(server, claims or Claims(), clock=lambda: now)
    asyncio.run(reader.trouble(look(live)))
    now = seconds
    found = asyncio.run(reader.trouble(look(live)))
    return f"{found.reason}: {found.message}" if found else ""


@pytest.mark.parametrize(
    ("live", "words"),
    [
        (http_route("nowhere"), "GatewayMissing: there is no Gateway payments/nowhere: create it"),
        (
            http_route("public", "https"),
            "GatewayMissing: Gateway payments/public has no listener https, it has http, web",
        ),
        (http_route("classless"), "GatewayMissing: there is no GatewayClass nobody"),
        (
            http_route("public", "web"),
            "RouteNotReady: Gateway payments/public, listener web says nothing of this route",
        ),
        (http_route(said=taken(1)), "RouteNotReady: Gateway payments/public says nothing of this route"),
    ],
)
def test_a_silence_is_explained_by_the_first_thing_that_is_missing(live: Any, words: str) -> None:
    assert told(live, Server()).startswith(words)


def test_nothing_is_read_where_a_gateway_speaks_or_has_had_no_time_to() -> None:
    against = [{**one, "status": "False"} for one in taken()]
    server = Server()

    for live, seconds in (
        (http_route(said=taken()), 5.0),
        (http_route(said=against), 5.0),
        (http_route(), 1.0),
        (None, 5.0),
    ):
        assert told(live, server, seconds) == ""

    assert server.asked == []


def test_who_may_not_read_gateways_goes_without_a_reason() -> None:
    assert told(http_route(), Server(forbidden=True)) == ""


def test_a_silence_is_looked_at_again_when_it_may_be_more_than_one_of_moments() -> None:
    now = 0.0
    reader = GatewayReader(Server(), Claims(), clock=lambda: now)
    assert reader.again(OWNER) is None
    asyncio.run(reader.trouble(look(http_route())))
    assert reader.again(OWNER) == timedelta(seconds=2)

    now = 3.0
    assert reader.again(OWNER) is None
    asyncio.run(reader.trouble(look(http_route(said=taken()))))
    asyncio.run(reader.trouble(look(http_route())))

    assert reader.again(OWNER) == timedelta(seconds=2)


def test_of_two_routes_with_one_name_the_younger_ones_deployment_is_told() -> None:
    claims = Claims()
    older = http_route(said=taken(), namespace="shop", creationTimestamp="2026-01-01T00:00:00Z")
    older["spec"]["parentRefs"][0]["namespace"] = "payments"
    younger = http_route(said=taken(), creationTimestamp="2026-01-02T00:00:00Z")
    for kind, live in ((HTTP_ROUTE, older), (HTTP_ROUTE, younger)):
        claims.put(kind, (live["metadata"]["namespace"], "fraud"), live)

    words = (
        "HostnameTaken: fraud.example.com is routed by ModelDeployment shop/fraud at the same Gateway: choose another"
    )
    assert told(younger, Server(), claims=claims).startswith(words)
    assert told(older, Server(), claims=claims) == ""
    claims.drop(HTTP_ROUTE, ("shop", "fraud"))
    assert told(younger, Server(), claims=claims) == ""


def test_one_name_at_another_gateway_or_for_another_protocol_is_no_rivals() -> None:
    claims = Claims()
    mine = http_route(creationTimestamp="2026-01-02T00:00:00Z")
    for kind, live in (
        (GRPC_ROUTE, http_route(creationTimestamp="2026-01-01T00:00:00Z")),
        (HTTP_ROUTE, http_route("internal", namespace="shop", creationTimestamp="2026-01-01T00:00:00Z")),
    ):
        claims.put(kind, (live["metadata"]["namespace"], "fraud"), live)

    assert claims.rival(HTTP_ROUTE, mine) is None


def test_the_split_in_effect_is_the_weights_that_a_gateway_has_taken() -> None:
    found = route(look(http_route(said=taken())))

    assert (found.weights, found.accepted) == ({OLD: 90, NEW: 10}, True)
    assert found.routed == {OLD, NEW}


def test_a_change_that_a_gateway_has_had_no_time_to_take_is_pending_and_no_refusal() -> None:
    found = route(look(http_route(said=taken(1)), pending=True))

    assert (found.accepted, found.pending) == (False, True)


def test_routes_that_give_different_weights_are_not_in_effect() -> None:
    other = http_route(said=taken())
    other["spec"]["rules"][0]["backendRefs"][0]["weight"] = 10
    both = look(http_route(said=taken()))
    seen = Seen(routes={HTTP_ROUTE: http_route(said=taken()), GRPC_ROUTE: other})

    found = route(Look(OWNER, both.deployment, seen, (), {}, NOW, routes=(HTTP_ROUTE, GRPC_ROUTE)))

    assert not found.accepted
    assert found.message == "HTTPRoute fraud and GRPCRoute fraud-grpc give different weights yet"


def test_what_the_cluster_lacks_is_named_with_the_way_out() -> None:
    assert not_installed([GRPC_ROUTE]).message == (
        "this cluster has no GRPCRoute: install the Gateway API's CRDs (standard channel), or write "
        "routing.provider: Service"
    )


@pytest.mark.parametrize(
    ("names", "heeded"),
    [(["public"], True), (["public", "plain"], False), (["classless"], False), (["nowhere"], False), ([], False)],
)
def test_timeouts_are_heeded_where_every_class_says_so(names: list[str], heeded: bool) -> None:
    server = Server()
    reader = GatewayReader(server, Claims())
    parents = [ParentRef(name=name) for name in names]

    assert asyncio.run(reader.heed_timeouts(OWNER, parents)) is heeded
    asked = list(server.asked)
    assert asyncio.run(reader.heed_timeouts(OWNER, parents)) is heeded
    assert server.asked == asked


def test_who_may_not_read_classes_writes_no_timeouts() -> None:
    reader = GatewayReader(Server(forbidden=True), Claims())

    assert not asyncio.run(reader.heed_timeouts(OWNER, [ParentRef(name="public")]))
