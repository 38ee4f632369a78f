"""What the chart adds with `metricsApi.enabled`: exactly what the operator's metrics API is tested with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.chart.helm import CHART, HOME, Helm, HelmFailed, container, one
from tests.chart.rules import findings
from tests.chart.test_rendered import roles, settings
from tests.chart.variants import VARIANTS

from tidegate.cluster.metrics_api.registration import NAME, PORT, PORT_NAME
from tidegate.cluster.settings import FLAGS
from tidegate.plan.load import MEASURES

ROOT = Path(__file__).parents[2]
ENABLED = VARIANTS["external metrics"]


def test_by_default_there_is_nothing_of_it(helm: Helm) -> None:
    objects = helm.template()

    assert NAME not in {obj["metadata"]["name"] for obj in objects}
    assert settings(one(objects, "Deployment")).metrics_api_address == ""


def test_the_operator_gets_rights_for_it_and_breaks_no_rule(helm: Helm) -> None:
    rights = yaml.safe_load((CHART / "files/rights.yaml").read_text())
    objects = helm.template(ENABLED)

    assert roles(objects) == {
        "*/tidegate-operator": rights["models"] + rights["cluster"] + rights["metricsApi"],
        f"{HOME}/tidegate-operator-lease": rights["lease"] + rights["metricsApiHome"],
    }
    assert findings(objects) == []


def test_the_page_on_rights_has_them() -> None:
    rights = yaml.safe_load((CHART / "files/rights.yaml").read_text())
    section = (ROOT / "docs/rbac.md").read_text().partition("## External metrics")[2].partition("\n## ")[0]

    told = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.M))
    assert told == {"apiservices": "create, get, patch", "clusterroles": "get", "endpointslices": "create, get, patch"}
    assert {
        (rule["resources"][0], verb)
        for rule in rights["metricsApi"] + rights["metricsApiHome"]
        for verb in rule["verbs"]
    } == {(resource, verb) for resource, verbs in told.items() for verb in verbs.split(", ")}


def test_the_service_leads_to_the_port_that_the_operator_opens(helm: Helm) -> None:
    objects = helm.template(ENABLED)
    deployment, service = one(objects, "Deployment"), one(objects, "Service", NAME)

    opened = {port["name"]: port["containerPort"] for port in container(deployment)["ports"]}
    [port] = service["spec"]["ports"]
    [address] = container(deployment)["env"]
    flags = {flag.environment: flag.field for flag in FLAGS}
    assert (port["name"], port["port"], opened[port["targetPort"]]) == (PORT_NAME, PORT, 6443)
    assert "selector" not in service["spec"]  # the leader writes its own address
    assert settings(deployment).metrics_api_port == 6443
    assert flags[address["name"]] == "metrics_api_address"
    assert address["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}


def test_people_who_may_view_may_read_each_metric(helm: Helm) -> None:
    role = one(helm.template(ENABLED), "ClusterRole", NAME)

    assert role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    [rule] = role["rules"]
    assert (rule["apiGroups"], set(rule["resources"])) == (["external.metrics.k8s.io"], set(MEASURES))


def test_the_network_lets_the_api_server_in(helm: Helm) -> None:
    policy = one(helm.template(ENABLED), "NetworkPolicy")

    assert policy["spec"]["ingress"][1] == {"ports": [{"port": 6443, "protocol": "TCP"}]}


def test_one_group_of_namespaces_cannot_serve_a_whole_cluster(helm: Helm) -> None:
    with pytest.raises(HelmFailed, match=r"metricsApi\.enabled needs the whole cluster"):
        helm.template(ENABLED | {"namespaces": ["shop"]})
