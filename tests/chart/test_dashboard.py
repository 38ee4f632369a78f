"""The page of rollouts in the chart: off by default, and who may connect is as the values say."""

from __future__ import annotations

import pytest
from tests.chart.helm import HOME, Helm, Values, container, one
from tests.chart.test_rendered import settings
from tests.chart.variants import VARIANTS
from tests.fakes.network_policy import Network, Pod

FORWARDED = VARIANTS["a dashboard for port-forward"]
BEHIND = VARIANTS["a dashboard behind a proxy"]


def services(helm: Helm, values: Values) -> list[str]:
    return [obj["metadata"]["name"] for obj in helm.template(values) if obj["kind"] == "Service"]


def test_it_is_off_by_default(helm: Helm) -> None:
    deployment = one(helm.template(), "Deployment")

    assert settings(deployment).dashboard_port is None
    assert [port["name"] for port in container(deployment)["ports"]] == ["probes"]
    assert services(helm, {}) == []


def test_its_values_reach_the_operator_and_a_service_leads_there(helm: Helm) -> None:
    objects = helm.template(BEHIND)
    deployment, service = one(objects, "Deployment"), one(objects, "Service")

    found = settings(deployment)
    assert (found.dashboard_port, found.dashboard_hosts) == (9191, ("models.example.com", "dashboard"))
    [port] = service["spec"]["ports"]
    opened = {row["name"]: row["containerPort"] for row in container(deployment)["ports"]}
    assert (service["metadata"]["name"], port["port"], opened[port["targetPort"]]) == ("tidegate-dashboard", 9191, 9191)
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("values", "proxy", "others"), [({}, False, False), (FORWARDED, False, False), (BEHIND, True, False)]
)
def test_only_the_named_namespaces_may_connect(helm: Helm, values: Values, proxy: bool, others: bool) -> None:
    objects = helm.template(values)
    operator = Pod("10.1.0.1", HOME, one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"])
    named = {name: {"kubernetes.io/metadata.name": name} for name in (HOME, "gateways", "shop")}
    network = Network(named, (one(objects, "NetworkPolicy"),))
    port = values.get("dashboard", {}).get("port", 8082)

    assert network.allows(Pod("10.1.0.2", "gateways", {}), operator, port) is proxy
    assert network.allows(Pod("10.1.0.3", "shop", {}), operator, port) is others
    assert network.allows(Pod("10.1.0.3", "shop", {}), operator, 8081), "metrics are read as ever"


def test_it_needs_no_right_more(helm: Helm) -> None:
    def roles(values: Values) -> list[object]:
        return [obj for obj in helm.template(values) if obj["kind"] in ("ClusterRole", "Role")]

    assert roles(BEHIND) == roles({})
