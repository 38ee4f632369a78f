"""Routes of the Gateway API: who gets what, and that nothing in them is left for a server to fill in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tidegate.api.routing import Routing
from tidegate.api.status import ModelDeploymentStatus, RolloutStatus
from tidegate.plan.manifests.children import Create
from tidegate.plan.manifests.effects import Apply, Delete
from tidegate.plan.manifests.identity import DEPLOYMENT, GRPC_ROUTE, HTTP_ROUTE, ROUTE_KINDS, SERVICE
from tidegate.plan.manifests.routes import Gateways, by_gateway, kinds_of, reached_by, wanted_routes, weights_in

from .cluster import OF_NEW, OF_OLD, Cluster, cluster_of, kinds
from .parts import CANARY, NEW, OLD, OWNER, plan_of, serving, wanted

PARENT = {"name": "public", "namespace": "gateways", "sectionName": "https"}
BOTH: dict[str, Any] = {
    "parentRefs": [PARENT],
    "hostnames": ["fraud.example.com"],
    "grpcHostnames": ["fraud-grpc.example.com"],
}
PIN = {"x-model-version": "canary"}


def routing(**parts: Any) -> Routing:
    return Routing.model_validate(parts)


def routes(plan: Any = CANARY, gateways: Gateways | None = None, **parts: Any) -> dict[str, Any]:
    """The spec of each wanted route, by kind."""
    made = wanted_routes(OWNER, routing(**(parts or BOTH)), plan, gateways or Gateways())
    return {kind.kind: dict(made[kind]["spec"]) for kind in made}


def backend(name: str, port: int, weight: int) -> dict[str, Any]:
    return {"group": "", "kind": "Service", "name": name, "port": port, "weight": weight}


def test_rest_and_grpc_have_routes_of_their_own_with_every_field_written_out() -> None:
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", **PARENT}
    unmarked = [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x-tidegate-pinned"]}}]

    assert routes() == {
        "HTTPRoute": {
            "parentRefs": [parent],
            "hostnames": ["fraud.example.com"],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "filters": unmarked,
                    "backendRefs": [backend(OF_OLD, 8080, 90), backend(OF_NEW, 8080, 10)],
                }
            ],
        },
        "GRPCRoute": {
            "parentRefs": [parent],
            "hostnames": ["fraud-grpc.example.com"],
            "rules": [
                {"filters": unmarked, "backendRefs": [backend(OF_OLD, 9000, 90), backend(OF_NEW, 9000, 10)]},
            ],
        },
    }


def test_the_two_routes_have_different_names_because_contour_confuses_them_otherwise() -> None:
    made = wanted_routes(OWNER, routing(**BOTH), CANARY, Gateways())

    assert [route["metadata"]["name"] for route in made.values()] == ["fraud", "fraud-grpc"]


def test_a_pinned_request_is_marked_and_nobody_can_mark_his_own() -> None:
    pinning, split = routes(replace(CANARY, pin=NEW), **BOTH, headers=PIN)["HTTPRoute"]["rules"]

    assert pinning["matches"][0]["headers"] == [{"type": "Exact", "name": "x-model-version", "value": "canary"}]
    assert pinning["filters"][0]["requestHeaderModifier"] == {"set": [{"name": "x-tidegate-pinned", "value": "1"}]}
    assert pinning["backendRefs"] == [backend(OF_NEW, 8080, 1)]
    assert split["filters"][0]["requestHeaderModifier"] == {"remove": ["x-tidegate-pinned"]}


def test_without_a_candidate_that_is_ready_the_header_means_nothing() -> None:
    assert len(routes(CANARY, **BOTH, headers=PIN)["HTTPRoute"]["rules"]) == 1


def test_without_host_names_the_paths_tell_models_apart() -> None:
    [rule] = routes(CANARY, parentRefs=[PARENT])["HTTPRoute"]["rules"]

    assert [tuple(match["path"].values()) for match in rule["matches"]] == [
        ("PathPrefix", "/v2/models/fraud"),
        ("PathPrefix", "/v1/models/fraud"),
        ("Exact", "/v1/models/fraud:predict"),
        ("Exact", "/v1/models/fraud:explain"),
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"parentRefs": [PARENT]}, [HTTP_ROUTE]),
        ({"parentRefs": [PARENT], "grpcHostnames": ["g.example.com"]}, [GRPC_ROUTE]),
        (BOTH, [HTTP_ROUTE, GRPC_ROUTE]),
        ({"hostnames": ["fraud.example.com"]}, []),
        ({"existingRouteRef": {"kind": "GRPCRoute", "name": "shop"}}, [GRPC_ROUTE]),
    ],
)
def test_a_protocol_has_a_route_where_it_has_a_name(given: dict[str, Any], expected: list[Any]) -> None:
    assert list(kinds_of(routing(**given))) == expected


@pytest.mark.parametrize(
    ("given", "served", "gateway"),
    [
        (BOTH, ROUTE_KINDS, True),
        (BOTH, (HTTP_ROUTE,), False),
        (BOTH, (), False),
        ({**BOTH, "provider": "GatewayAPI"}, (), True),
        ({}, ROUTE_KINDS, False),
        ({"provider": "Service", "hostnames": ["fraud.example.com"]}, ROUTE_KINDS, False),
    ],
)
def test_auto_takes_a_gateway_that_is_named_where_the_cluster_has_its_routes(
    given: dict[str, Any], served: Any, gateway: bool
) -> None:
    assert by_gateway(routing(**given), served) is gateway


def routed(plan: Any = CANARY, **spec: Any) -> Cluster:
    cluster = cluster_of(plan, routing=BOTH, **spec)
    cluster.gateways = Gateways()
    cluster.settle(plan).writes.clear()
    return cluster


def test_what_is_written_is_what_is_read() -> None:
    cluster = routed()

    for kind, name in ((HTTP_ROUTE, "fraud"), (GRPC_ROUTE, "fraud-grpc")):
        live = cluster.live(kind, name)
        assert weights_in(OWNER, live) == {OLD: 90, NEW: 10}
        assert reached_by(OWNER, live) == {OLD, NEW}


def test_a_step_is_one_write_to_each_route_and_none_to_the_front() -> None:
    cluster = routed()

    assert kinds(cluster.carry_out(replace(CANARY, weights={OLD: 50, NEW: 50}))) == [
        "Apply HTTPRoute fraud",
        "Apply GRPCRoute fraud-grpc",
    ]


def front_of(cluster: Cluster) -> str:
    return str(cluster.live(SERVICE, "fraud")["spec"]["selector"]["serving.tidegate.io/revision"])


def test_the_front_leads_to_the_stable_version_until_another_one_is_and_is_written_once() -> None:
    cluster, everything = routed(), replace(CANARY, weights={OLD: 0, NEW: 100})
    cluster.settle(everything)
    assert front_of(cluster) == OLD

    written = kinds(cluster.carry_out(replace(everything, stable=NEW)))

    assert written == ["Apply Service fraud"]
    assert front_of(cluster) == NEW


@pytest.mark.parametrize("emptied", [{"stable_lost": True}, {"surge": "Replace"}], ids=str)
def test_where_the_stable_version_may_have_no_server_left_the_candidate_has_the_front_with_everything(
    emptied: dict[str, Any],
) -> None:
    cluster, rollout = routed(), RolloutStatus(cause="Spec", phase="Shifting", **emptied)
    plan = replace(CANARY, status=ModelDeploymentStatus(rollout=rollout))
    cluster.settle(plan)
    assert front_of(cluster) == OLD

    cluster.settle(replace(plan, weights={OLD: 0, NEW: 100}))

    assert front_of(cluster) == NEW


def test_a_version_that_a_route_still_leads_to_is_not_taken_away() -> None:
    cluster = routed()
    cluster.live(HTTP_ROUTE, "fraud")["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"  # cannot be mended now

    cluster.carry_out(serving(OLD))

    assert OF_NEW in cluster.names(DEPLOYMENT)
    assert OF_NEW in cluster.names(SERVICE)


def test_back_to_a_plain_service_the_front_splits_before_the_routes_go() -> None:
    cluster = routed()
    cluster.gateways = None

    made = [effect for effect in cluster.carry_out(CANARY) if isinstance(effect, Apply | Delete | Create)]

    assert kinds(made) == ["Apply Service fraud", "Delete HTTPRoute fraud", "Delete GRPCRoute fraud-grpc"]


def test_a_plan_that_has_lost_its_memory_leaves_the_routes_alone() -> None:
    cluster = routed()

    assert not [one for one in kinds(cluster.carry_out(plan_of(wanted(NEW)))) if "Route" in one]


@pytest.mark.parametrize(
    "edit",
    [
        lambda spec: spec["rules"][0]["backendRefs"][0].update(weight=1),
        lambda spec: spec["rules"][0].update(timeouts={"request": "1s"}),
        lambda spec: spec["rules"].append({"backendRefs": []}),
        lambda spec: spec["hostnames"].append("other.example.com"),
        lambda spec: spec["parentRefs"][0].update(sectionName="http"),
    ],
)
def test_whatever_somebody_writes_into_a_route_is_mended(edit: Any) -> None:
    cluster = routed()
    edit(cluster.live(HTTP_ROUTE, "fraud")["spec"])

    assert kinds(cluster.carry_out(CANARY)) == ["Apply HTTPRoute fraud"]
    assert weights_in(OWNER, cluster.live(HTTP_ROUTE, "fraud")) == {OLD: 90, NEW: 10}


def test_weights_of_somebody_elses_making_are_read_as_shares() -> None:
    refs = [backend(OF_OLD, 8080, 3), backend(OF_NEW, 8080, 1), backend("shop", 80, 0)]

    assert weights_in(OWNER, {"spec": {"rules": [{"backendRefs": refs}]}}) == {OLD: 75, NEW: 25}
    assert weights_in(OWNER, {"spec": {"rules": [{"backendRefs": [backend("shop", 80, 1)]}]}}) == {}


def test_timeouts_are_written_where_they_are_heeded_and_above_the_servers_own() -> None:
    made = routes(replace(CANARY, pin=NEW), Gateways(timeouts=True), **BOTH, headers=PIN)

    assert [rule["timeouts"] for rule in made["HTTPRoute"]["rules"]] == [{"request": "2m"}, {"request": "2m"}]
    assert all("timeouts" not in rule for rule in made["GRPCRoute"]["rules"])
