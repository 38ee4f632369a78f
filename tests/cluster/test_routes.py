"""Routes of the Gateway API on a real API server: what is written, what a gateway says, and what stands in the way.

The gateway is played, and so are the servers; tests/gateway has a real one with real traffic.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.faults import later
from tests.cluster.operating import Operator, Site, fact, ready, resolves, weight
from tests.control_plane import gateway_api
from tests.control_plane.client import ApiError
from tests.control_plane.gateway_api import CRD, PlayedGateway, accepts, said
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.waiting import wait_until

PUBLIC = {"parentRefs": [{"name": "public"}], "hostnames": ["fraud.example.com"]}
BOTH = {**PUBLIC, "grpcHostnames": ["fraud-grpc.example.com"]}
MANUAL = {"steps": [{"weight": 10, "hold": "manual"}, {"weight": 50, "hold": "manual"}]}
AT_ONCE: Any = {"steps": []}


@pytest.fixture(scope="module")
def before(control_plane: Plane, operator: Operator) -> dict[str, Object]:
    """What a cluster without the Gateway API says, and what it says when that has come."""
    assert control_plane.player
    control_plane.client.delete("customresourcedefinitions", "", CRD)
    told = {}
    namespace = control_plane.new_namespace()
    control_plane.player.answer_jobs(namespace, resolves())
    sites = {name: Site(control_plane, namespace, name=name) for name in ("auto", "forced")}
    sites["auto"].simulate(routing={**PUBLIC, "hostnames": ["auto.example.com"]})
    sites["forced"].simulate(routing={**PUBLIC, "provider": "GatewayAPI"})
    told["auto without"] = sites["auto"].until_serving("v1")
    told["forced without"] = sites["forced"].until_reason("RouteReady", "GatewayAPIMissing")
    gateway_api.install(control_plane)
    with PlayedGateway(control_plane, namespace):
        # Half a minute where kopf has asked for the kinds a moment too early.
        told["forced with"] = sites["forced"].until_serving("v1", 90)
        told["auto with"] = wait_until(lambda: route_of(sites["auto"]), "a route", 90)
    control_plane.client.delete("namespaces", "", namespace)
    return told


@pytest.fixture
def gateway(before: dict[str, Object], site: Site) -> Iterator[PlayedGateway]:
    with PlayedGateway(site.plane, site.namespace) as played:
        yield played


def route_of(site: Site, plural: str = "httproutes") -> Object | None:
    name = site.name if plural == "httproutes" else f"{site.name}-grpc"
    return site.plane.client.get(plural, site.namespace, name)


def shares(site: Site, plural: str = "httproutes") -> dict[str, int]:
    """Weights of the last rule, by revision."""
    route = route_of(site, plural)
    refs = route["spec"]["rules"][-1]["backendRefs"] if route else []
    return {one["name"].removeprefix(f"{site.name}-"): one["weight"] for one in refs}


def at(site: Site, percent: int) -> tuple[str, str]:
    """The revisions of a canary that the route gives so much; nobody sends anything that would prove it."""
    found = site.until(lambda one: weight(one) == percent)["status"]
    new = found["candidate"]["revision"]
    plurals = [plural for plural in gateway_api.ROUTES if route_of(site, plural)]
    wait_until(lambda: all(shares(site, one).get(new) == percent for one in plurals), f"routes give {percent} %")
    return found["stable"]["revision"], new


def test_without_the_gateway_api_auto_is_a_plain_service(before: dict[str, Object]) -> None:
    assert fact(before["auto without"], "RouteReady")["reason"] == "Accepted"
    assert fact(before["forced without"], "RouteReady")["message"] == (
        "this cluster has no HTTPRoute: install the Gateway API's CRDs (standard channel), or write "
        "routing.provider: Service"
    )


def test_when_the_gateway_api_comes_routes_are_made_without_a_restart(before: dict[str, Object]) -> None:
    assert fact(before["forced with"], "RouteReady")["status"] == "True"
    assert before["auto with"]["spec"]["hostnames"] == ["auto.example.com"]


def test_a_canary_moves_by_the_weights_of_both_routes_and_an_abort_is_one_write_to_each(
    operator: Operator, site: Site, gateway: PlayedGateway
) -> None:
    site.simulate("v1", routing=BOTH)
    old = site.until_serving("v1")["status"]["stable"]["revision"]
    assert shares(site) == shares(site, "grpcroutes") == {old: 100}

    site.simulate("v2", routing=BOTH, rollout=MANUAL)
    _, new = at(site, 10)
    assert shares(site) == shares(site, "grpcroutes") == {old: 90, new: 10}
    assert site.front()["spec"]["selector"]["serving.tidegate.io/revision"] == old

    mark = site.plane.audit.mark()
    site.command("abort", f"{new}@2026-01-01T00:00:01Z")
    site.until_reason("Stalled", "Aborted")
    wait_until(lambda: shares(site) == {old: 100} and len(site.children("deployments")) == 1, "the candidate goes")
    moved = [one.resource for one in site.plane.audit.writes(mark, user="operator", namespace=site.namespace)]
    assert moved.index("httproutes") < moved.index("deployments")
    assert {"services", "deployments/scale"} & set(moved) <= {"services"}


def test_the_header_leads_to_the_candidate_as_soon_as_it_is_ready(
    operator: Operator, site: Site, gateway: PlayedGateway
) -> None:
    pinned = {**BOTH, "headers": {"x-model-version": "canary"}}
    site.simulate("v1", routing=pinned)
    site.until_serving("v1")

    site.simulate("v2", routing=pinned, rollout=MANUAL)
    _, new = at(site, 10)

    for plural in ("httproutes", "grpcroutes"):
        route = route_of(site, plural)
        assert route is not None
        rule, split = route["spec"]["rules"]
        assert rule["matches"][0]["headers"] == [{"type": "Exact", "name": "x-model-version", "value": "canary"}]
        assert [one["name"] for one in rule["backendRefs"]] == [f"fraud-{new}"]
        assert len(split["backendRefs"]) == 2


def test_a_route_that_is_as_it_should_be_is_never_written_again(
    operator: Operator, site: Site, gateway: PlayedGateway
) -> None:
    site.simulate("v1", routing={**BOTH, "headers": {"x-model-version": "canary"}}, rollout=AT_ONCE)
    site.until_serving("v1")
    site.simulate("v2", routing={**BOTH, "headers": {"x-model-version": "canary"}}, rollout=AT_ONCE)
    site.until_serving("v2")
    wait_until(lambda: len(site.children("services")) == 2, "the old version goes")
    looks = operator.reconciles()
    site.plane.client.patch("httproutes", site.namespace, "fraud", {"metadata": {"labels": {"somebody": "a"}}})
    wait_until(lambda: operator.reconciles() > looks, "it has looked when all was over")
    mark, looks = site.plane.audit.mark(), operator.reconciles()

    site.plane.client.patch("httproutes", site.namespace, "fraud", {"metadata": {"labels": {"somebody": "b"}}})
    wait_until(lambda: operator.reconciles() > looks, "it has looked again")

    written = site.plane.audit.writes(mark, user="operator", namespace=site.namespace)
    assert [str(one) for one in written if not later(one, site)] == []


def spoiled(site: Site) -> bool:
    """Write other things into the route; false: it was another one by then."""
    route = route_of(site)
    assert route is not None
    route["spec"]["rules"][-1]["backendRefs"][0]["weight"] = 77
    route["spec"]["rules"][-1]["timeouts"] = {"request": "1s"}
    try:
        site.plane.client.put(route)
    except ApiError as error:
        if error.status != 409:
            raise
        return False
    return True


def test_an_edited_or_deleted_route_is_what_it_was_at_once(
    operator: Operator, site: Site, gateway: PlayedGateway
) -> None:
    site.simulate("v1", routing=PUBLIC)
    site.until_serving("v1")
    site.simulate("v2", routing=PUBLIC, rollout=MANUAL)
    old, new = at(site, 10)

    wait_until(lambda: spoiled(site), "nobody else writes it meanwhile")
    wait_until(lambda: shares(site) == {old: 90, new: 10}, "the weights are back")
    assert "timeouts" not in (route_of(site) or {})["spec"]["rules"][-1]

    site.plane.client.delete("httproutes", site.namespace, "fraud")
    wait_until(lambda: shares(site) == {old: 90, new: 10}, "the route is back")


def test_a_change_of_the_provider_in_a_rollout_takes_nobody_his_route(
    operator: Operator, site: Site, gateway: PlayedGateway
) -> None:
    """From Service to gateway the split goes on as it was; on the way back the front splits before the route goes."""
    site.simulate("v1")
    site.until_serving("v1")
    site.simulate("v2", rollout={"steps": [{"weight": 50, "hold": "manual"}]})
    site.until(lambda one: weight(one) == 50)
    wait_until(lambda: "serving.tidegate.io/revision" not in site.front()["spec"]["selector"], "two share")

    site.simulate("v2", rollout={"steps": [{"weight": 50, "hold": "manual"}]}, routing=PUBLIC)
    old, _ = at(site, 50)
    wait_until(
        lambda: site.front()["spec"]["selector"].get("serving.tidegate.io/revision") == old, "the front is whole"
    )
    wait_until(lambda: route_of(site), "the route is there")

    mark = site.plane.audit.mark()
    site.simulate("v2", rollout={"steps": [{"weight": 50, "hold": "manual"}]})
    wait_until(lambda: route_of(site) is None, "the route goes")

    def written() -> list[tuple[str, str]]:
        found = site.plane.audit.writes(mark, user="operator", namespace=site.namespace)
        return [(one.verb, one.resource) for one in found if one.resource in ("services", "httproutes")]

    wait_until(lambda: ("delete", "httproutes") in written(), "that is in the log, too")
    assert written()[-2:] == [("patch", "services"), ("delete", "httproutes")]
    # What came before the mark may be in the log after it.
    assert ("delete", "httproutes") not in written()[:-2]
    assert len(site.servers()) == 2


REFUSALS = {
    "NotAllowedByListeners": "the Gateway takes no routes from this namespace",
    "NoMatchingListenerHostname": "no listener has fraud.example.com",
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_what_a_gateway_says_against_a_route_is_told_in_its_words_and_no_weight_counts(
    operator: Operator, site: Site, gateway: PlayedGateway, reason: str
) -> None:
    gateway.says = lambda route: [
        said(route, "Accepted", "False", reason, REFUSALS[reason]),
        said(route, "ResolvedRefs"),
    ]

    site.simulate("v1", routing=PUBLIC)
    found = site.until_reason("Ready", "RouteNotReady")

    told = f"HTTPRoute fraud: Gateway {site.namespace}/public: {reason}: {REFUSALS[reason]}"
    assert fact(found, "RouteReady")["message"] == told
    assert fact(found, "Promoted")["status"] == "False"
    gateway.says = accepts
    site.until_serving("v1")


@pytest.mark.parametrize(
    "conditions",
    [
        lambda route: [said(route, "Accepted")],
        lambda route: [said(route, "Accepted"), said(route, "ResolvedRefs", "False", "BackendNotFound", "no Service")],
        lambda route: [*accepts(route), said(route, "PartiallyInvalid", "True", "UnsupportedValue", "a rule is left out")],
        lambda route: [{**one, "observedGeneration": route["metadata"]["generation"] - 1} for one in accepts(route)],
    ],
    ids=["half said", "not resolved", "in part", "of an older generation"],
)  # fmt: skip
def test_a_half_taken_route_is_none(operator: Operator, site: Site, gateway: PlayedGateway, conditions: Any) -> None:
    gateway.says = conditions

    site.simulate("v1", routing=PUBLIC)
    found = site.until(lambda one: fact(one, "RouteReady").get("reason") in ("RouteNotReady", "GatewayMissing"))

    assert fact(found, "Ready")["status"] == fact(found, "Promoted")["status"] == "False"
    gateway.says = accepts
    site.until_serving("v1")


def test_a_rollout_whose_route_is_never_taken_goes_back_after_its_deadline(
    operator: Operator, site: Site, gateway: PlayedGateway
) -> None:
    site.simulate("v1", routing=PUBLIC)
    old = site.until_serving("v1")["status"]["stable"]["revision"]
    gateway.says = lambda route: None if len(route["spec"]["rules"][-1]["backendRefs"]) > 1 else accepts(route)

    site.simulate("v2", routing=PUBLIC, rollout={**MANUAL, "progressDeadline": "5s"})
    found = site.until_reason("Stalled", "GatewayMissing", 60)

    assert found["status"]["rejected"][-1]["class"] == "Environment"
    assert fact(found, "Ready")["status"] == "True"
    wait_until(lambda: shares(site).get(old) == 100, "all is with the old version")
    gateway.says = accepts
    wait_until(lambda: len(site.children("deployments")) == 1, "the candidate goes when its gateway has let it go")


def test_a_gateway_that_nobody_answers_for_is_named(operator: Operator, site: Site, gateway: PlayedGateway) -> None:
    gateway.says = lambda route: None
    gateway_api.create_gateway(site.plane, site.namespace, "asleep", "gateways.example.com/asleep")
    gateway_api.create_gateway(site.plane, site.namespace, "classless")
    site.plane.client.delete("gatewayclasses", "", f"{site.namespace}-classless")
    words = {
        "nowhere": f"there is no Gateway {site.namespace}/nowhere: create it",
        "deaf": f"Gateway {site.namespace}/asleep has no listener https, it has http: correct sectionName",
        "classless": f"there is no GatewayClass {site.namespace}-classless, which Gateway {site.namespace}/classless is of",
        "asleep": "does its controller gateways.example.com/asleep run: look at its log",
    }
    sites = {name: Site(site.plane, site.namespace, name=name) for name in words}

    for name, one in sites.items():
        parent = {"name": "asleep", "sectionName": "https"} if name == "deaf" else {"name": name}
        one.simulate(routing={"parentRefs": [parent], "hostnames": [f"{name}.example.com"]})

    for name, one in sites.items():
        found = one.until(lambda of: fact(of, "RouteReady").get("reason") not in (None, "NoRoute", "Accepted"))
        assert words[name] in fact(found, "RouteReady")["message"]
    gateway.says = accepts
    for one in sites.values():
        one.until_serving("v1")


def test_a_route_of_somebody_else_is_never_touched(operator: Operator, site: Site, gateway: PlayedGateway) -> None:
    theirs = {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "fraud", "namespace": site.namespace},
        "spec": {"parentRefs": [{"name": "public"}], "hostnames": ["shop.example.com"]},
    }  # fmt: skip
    before = site.plane.client.create(theirs)

    site.simulate("v1", routing=PUBLIC)
    found = site.until_reason("RouteReady", "NameTaken")

    assert "HTTPRoute fraud exists and is not ours: remove it" in fact(found, "RouteReady")["message"]
    assert (route_of(site) or {})["spec"] == before["spec"]


def test_of_two_deployments_with_one_host_name_the_younger_is_told(
    operator: Operator, site: Site, gateway: PlayedGateway
) -> None:
    site.simulate("v1", routing=PUBLIC)
    site.until_serving("v1")
    second = Site(site.plane, site.namespace, name="second")
    wait_until(lambda: route_of(site), "its route")

    second.simulate("v1", routing=PUBLIC)
    found = second.until_reason("RouteReady", "HostnameTaken")

    told = f"fraud.example.com is routed by ModelDeployment {site.namespace}/fraud at the same Gateway"
    assert told in fact(found, "RouteReady")["message"]
    second.simulate("v1", routing={**PUBLIC, "hostnames": ["second.example.com"]})
    second.until_serving("v1")
    assert fact(site.get(), "RouteReady")["status"] == "True"


def test_no_weight_is_given_to_servers_that_the_gateway_does_not_know_of_yet(
    operator: Operator, site: Site, gateway: PlayedGateway
) -> None:
    """Its pods are ready, but the slices of its Service lag."""
    site.simulate("v1", routing=PUBLIC)
    old = site.until_serving("v1")["status"]["stable"]["revision"]
    gateway.knows = lambda service: service["metadata"]["name"] in ("fraud", f"fraud-{old}")

    site.simulate("v2", routing=PUBLIC, rollout=MANUAL)
    wait_until(lambda: len([pod for pod in site.servers() if ready(pod)]) == 2, "both versions' pods are ready")
    site.until_reason("Reconciling", "CandidateNotReady")
    assert 100 in shares(site).values()

    gateway.knows = lambda service: True
    at(site, 10)


def test_an_evicted_candidate_loses_its_weight_with_its_pods(
    operator: Operator, site: Site, gateway: PlayedGateway
) -> None:
    site.simulate("v1", routing=PUBLIC)
    site.until_serving("v1")
    site.simulate("v2", routing=PUBLIC, rollout={"steps": [{"weight": 50, "hold": "manual"}]})
    old, new = at(site, 50)
    for pod in site.servers():
        if pod["metadata"]["labels"]["serving.tidegate.io/revision"] == new:
            site.plane.client.delete("pods", site.namespace, pod["metadata"]["name"])

    wait_until(lambda: "WeightHeldLower" in site.events(), "the weight is taken back")
    assert at(site, 50) == (old, new)


def in_git(site: Site, *services: str) -> Object:
    """A route that somebody applies from elsewhere, with rules and references of his own."""
    ours = [{"name": name, "port": 8080, "weight": weight} for name, weight in zip(services, (100, 0), strict=False)]
    return {
        "apiVersion": gateway_api.API, "kind": "HTTPRoute", "metadata": {"name": "shop", "namespace": site.namespace},
        "spec": {
            "parentRefs": [{"name": "public"}], "hostnames": ["shop.example.com"],
            "rules": [
                {"matches": [{"path": {"type": "PathPrefix", "value": "/cart"}}], "backendRefs": [{"name": "cart", "port": 80}]},
                {"matches": [{"path": {"type": "PathPrefix", "value": "/v2"}}], "backendRefs": ours},
            ],
        },
    }  # fmt: skip


def pair(site: Site) -> list[int]:
    route = site.plane.client.read("httproutes", site.namespace, "shop")
    return [one["weight"] for one in route["spec"]["rules"][1]["backendRefs"]]


def test_of_a_route_that_lives_in_git_two_weights_are_written_and_nothing_else(
    operator: Operator, site: Site, gateway: PlayedGateway
) -> None:
    client, shared = site.plane.client, {"existingRouteRef": {"name": "shop"}}
    before = client.apply(in_git(site, "fraud", "fraud-candidate"), manager="git")
    site.simulate("v1", routing=shared)
    site.until_serving("v1")
    assert pair(site) == [100, 0]
    mark = site.plane.audit.mark()

    site.simulate("v2", routing=shared, rollout=MANUAL)
    wait_until(lambda: pair(site) == [90, 10], "the weights are in the route")
    client.patch("httproutes", site.namespace, "shop", {"metadata": {"annotations": {"somebody": "writes"}}})
    site.simulate("v3", routing=shared, rollout=AT_ONCE)
    found = site.until_serving("v3")
    wait_until(lambda: pair(site) == [100, 0], "the front has everything again")

    written = site.plane.audit.writes(mark, user="operator", namespace=site.namespace)
    assert {(one.verb, one.name) for one in written if one.resource == "httproutes"} == {("patch", "shop")}
    after = client.read("httproutes", site.namespace, "shop")
    assert after["spec"] == before["spec"]
    assert "ownerReferences" not in after["metadata"]
    assert site.front()["spec"]["selector"]["serving.tidegate.io/revision"] == found["status"]["stable"]["revision"]


@pytest.mark.parametrize("services", [None, ("fraud",)], ids=["missing", "without the candidate"])
def test_a_route_in_git_that_cannot_be_used_is_told(
    operator: Operator, site: Site, gateway: PlayedGateway, services: tuple[str, ...] | None
) -> None:
    if services:
        site.plane.client.apply(in_git(site, *services), manager="git")

    site.simulate("v1", routing={"existingRouteRef": {"name": "shop"}})
    found = site.until_reason("RouteReady", "RouteMissing")

    words = (
        "backendRefs to both fraud and fraud-candidate: add" if services else "there is no HTTPRoute shop: create it"
    )
    assert words in fact(found, "RouteReady")["message"]
