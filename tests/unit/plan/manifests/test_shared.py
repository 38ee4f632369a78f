"""A route that lives in Git: two weights are ours, and they move only when both Services lead where they should."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tidegate.plan.manifests.children import Effect
from tidegate.plan.manifests.effects import Edit
from tidegate.plan.manifests.identity import HTTP_ROUTE, SERVICE
from tidegate.plan.manifests.routes import Gateways
from tidegate.plan.manifests.shared import shared_weights, usable
from tidegate.plan.wanted import Plan

from .cluster import Cluster, kinds
from .parts import NEW, OLD, OWNER, plan_of, serving, spec_of, wanted

OTHER = {"name": "shop", "port": 80, "weight": 7}


def rule(front: int = 100, candidate: int = 0, *others: Any) -> dict[str, Any]:
    refs = [
        {"name": "fraud", "port": 8080, "weight": front},
        {"name": "fraud-candidate", "port": 8080, "weight": candidate},
    ]
    return {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [*refs, *others]}


def route(*rules: Any) -> dict[str, Any]:
    return {
        "apiVersion": HTTP_ROUTE.api_version, "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": "payments", "resourceVersion": "41", "generation": 1},
        "spec": {"parentRefs": [{"name": "public"}], "rules": list(rules)},
    }  # fmt: skip


class Git(Cluster):
    """A cluster with somebody's route, whose slices follow what Services select unless a test says otherwise."""

    def __init__(self, *rules: Any) -> None:
        super().__init__(spec=spec_of(routing={"existingRouteRef": {"name": "shop"}}))
        self.gateways, self.shared, self.lags = Gateways(), route(*rules), False
        self.endpoints: dict[str, frozenset[str]] = {}
        self.taken()

    @property
    def seen(self) -> Any:
        from dataclasses import replace

        found = super().seen
        if not self.lags:
            self.endpoints = {
                name: frozenset({f"fraud-{revision}-xyz-1"}) if revision else frozenset()
                for name, revision in ((name, self.selects(name)) for name in self.names(SERVICE))
            }
        return replace(found, shared=self.shared, endpoints=self.endpoints)

    def taken(self) -> None:
        """The gateway has the route as it is now."""
        generation = self.shared["metadata"]["generation"]
        said = [
            {"type": kind, "status": "True", "observedGeneration": generation} for kind in ("Accepted", "ResolvedRefs")
        ]
        self.shared["status"] = {"parents": [{"parentRef": {"name": "public"}, "conditions": said}]}

    def selects(self, name: str) -> str:
        selector: dict[str, str] = self.live(SERVICE, name)["spec"]["selector"]
        return selector.get("serving.tidegate.io/revision", "")

    def take(self, effect: Effect) -> None:
        if isinstance(effect, Edit):
            self.writes.append(effect)
            assert effect.version == self.shared["metadata"]["resourceVersion"]
            self.shared = copy.deepcopy({**self.shared, "spec": {**self.shared["spec"], **effect.change["spec"]}})
            self.shared["metadata"]["resourceVersion"] += "1"
            self.shared["metadata"]["generation"] += 1
        else:
            super().take(effect)

    @property
    def weights(self) -> list[list[int]]:
        return [[one["weight"] for one in rule["backendRefs"]] for rule in self.shared["spec"]["rules"]]


def canary(share: int, stable: str = OLD, other: str = NEW) -> Plan:
    return plan_of(wanted(stable), wanted(other), weights={stable: 100 - share, other: share}, stable=stable)


def test_only_our_two_weights_change_and_nothing_else_in_the_route() -> None:
    cluster = Git(
        rule(100, 0, OTHER), {"backendRefs": [{"name": "fraud", "port": 8080, "weight": 3}]}, {"backendRefs": [OTHER]}
    )
    before = copy.deepcopy(cluster.shared["spec"])

    cluster.settle(canary(10), turns=6)

    assert cluster.weights == [[90, 10, 7], [3], [7]]
    before["rules"][0]["backendRefs"][0]["weight"], before["rules"][0]["backendRefs"][1]["weight"] = 90, 10
    assert cluster.shared["spec"] == before
    assert shared_weights(OWNER, cluster.seen) == {OLD: 90, NEW: 10}


def test_a_step_and_an_abort_are_one_write_each() -> None:
    cluster = Git(rule())
    cluster.settle(canary(10), turns=6)

    assert kinds_of(cluster.carry_out(canary(50))) == ["Edit shop"]
    assert kinds_of(cluster.carry_out(canary(0))) == ["Edit shop"]
    assert cluster.weights == [[100, 0]]


def test_nothing_is_written_to_a_route_that_is_as_it_should_be() -> None:
    cluster = Git(rule())
    cluster.settle(canary(10), turns=6)

    assert cluster.carry_out(canary(10)) == []


def test_no_service_gets_weight_before_it_leads_to_its_version() -> None:
    cluster = Git(rule())
    cluster.settle(canary(0), turns=6)
    cluster.lags, cluster.endpoints = True, {**cluster.seen.endpoints, "fraud-candidate": frozenset()}

    cluster.settle(canary(10))
    assert cluster.weights == [[100, 0]]
    cluster.lags = False
    cluster.settle(canary(10))

    assert cluster.weights == [[90, 10]]


def test_at_a_promotion_the_front_changes_sides_without_a_request_and_then_takes_over() -> None:
    cluster = Git(rule())
    cluster.settle(canary(100), turns=6)
    assert cluster.weights == [[0, 100]]
    promoted = plan_of(wanted(NEW), wanted(OLD), weights={NEW: 100, OLD: 0}, stable=NEW)

    cluster.carry_out(promoted)
    assert (cluster.selects("fraud"), cluster.selects("fraud-candidate"), cluster.weights) == (NEW, NEW, [[0, 100]])
    cluster.lags, cluster.endpoints = True, {**cluster.endpoints, "fraud": frozenset({f"fraud-{OLD}-xyz-1"})}
    cluster.settle(promoted)
    assert cluster.weights == [[0, 100]], "the gateway still knows the old servers by that name"
    cluster.lags = False
    cluster.settle(promoted)
    assert (cluster.weights, cluster.selects("fraud-candidate")) == ([[100, 0]], NEW), "requests may still reach it"
    cluster.taken()
    cluster.settle(promoted)

    assert cluster.selects("fraud-candidate") == OLD


def test_at_rest_the_candidates_service_leads_to_nobody() -> None:
    cluster = Git(rule())
    cluster.settle(serving(OLD), turns=6)

    assert (cluster.selects("fraud"), cluster.selects("fraud-candidate")) == (OLD, "")


def test_our_own_route_goes_when_the_other_one_has_been_taken() -> None:
    cluster = Git(rule())
    cluster.spec = spec_of(routing={"parentRefs": [{"name": "public"}]})
    cluster.settle(serving(OLD))
    cluster.spec = spec_of(routing={"existingRouteRef": {"name": "shop"}})
    cluster.shared["status"] = {}

    cluster.settle(serving(OLD))
    assert cluster.names(HTTP_ROUTE) == ["fraud"]
    cluster.taken()
    cluster.settle(serving(OLD))

    assert cluster.names(HTTP_ROUTE) == []


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [{"backendRefs": [{"name": "fraud", "weight": 1}]}],
        [{"backendRefs": [{"name": "fraud", "namespace": "x"}, {"name": "fraud-candidate", "namespace": "x"}]}],
        [{"backendRefs": [{"name": "fraud", "kind": "Bucket"}, {"name": "fraud-candidate"}]}],
    ],
)
def test_a_route_without_both_of_our_services_cannot_be_used(rules: Any) -> None:
    assert not usable(OWNER, route(*rules))
    assert usable(OWNER, route(rule()))


def kinds_of(made: list[Effect]) -> list[str]:
    return [f"Edit {one.name}" if isinstance(one, Edit) else kinds([one])[0] for one in made]


def test_with_another_provider_the_candidates_service_goes() -> None:
    cluster = Git(rule())
    cluster.settle(serving(OLD), turns=6)
    cluster.spec, cluster.gateways = spec_of(), None

    cluster.settle(serving(OLD))

    assert "fraud-candidate" not in cluster.names(SERVICE)


def test_a_route_that_is_not_there_yet_is_written_by_nobody() -> None:
    cluster = Git(rule())
    cluster.shared = None  # type: ignore[assignment]

    cluster.settle(serving(OLD))

    assert "fraud-candidate" in cluster.names(SERVICE)
