"""Wrong values are refused with their path, before anything reaches a cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from tests.chart.helm import CHART, Helm, HelmFailed, Values

WRONG: list[tuple[str, Any]] = [
    ("/namespaces", "shop"),
    ("/namespaces/0", ["Shop"]),
    ("/namespaces", ["shop", "shop"]),
    ("/replicas", 0),
    ("/replicas", "2"),
    ("/replicas", 50),
    ("/crds/install", "yes"),
    ("/crds/keep", 1),
    ("/image/registry", "https://registry.example.com"),
    ("/image/repository", ""),
    ("/image/repository", "Tidegate"),
    ("/image/tag", "latest"),
    ("/image/tag", "a b"),
    ("/image/digest", "sha256:abc"),
    ("/image/pullPolicy", "always"),
    ("/image/pullSecrets/0", [{"name": "registry"}]),
    ("/runtimeImage/registry", "registry.example.com/ml:"),
    ("/runtimeImage/repository", "tidegate-runtime:cpu"),
    ("/runtimeImage/tag", 1.0),
    ("/runtimeImage/digest", "b" * 64),
    ("/serviceAccount/create", "true"),
    ("/serviceAccount", {"create": None}),
    ("/operator", {"workers": None}),
    ("/serviceAccount/name", ""),
    ("/serviceAccount/annotations/a", {"a": 1}),
    ("/rbac/create", "true"),
    ("/userRoles/create", "true"),
    ("/operator/logLevel", "trace"),
    ("/operator/workers", 0),
    ("/operator/resync", "10"),
    ("/operator/measureConcurrency", 2000),
    ("/dashboard/enabled", "yes"),
    ("/dashboard/port", 80),
    ("/dashboard/port", 8081),
    ("/dashboard/hosts/0", ["https://models.example.com"]),
    ("/dashboard/hosts/0", ["Models.example.com"]),
    ("/dashboard/from/team", {"team": "a b"}),
    ("/prometheus/servers/main", {"main": "prometheus:9090"}),
    ("/prometheus/servers", {"Main": "https://prometheus:9090"}),
    ("/tracing/endpoint", "collector:4318"),
    ("/tracing/endpoint", "http://user:password@collector:4318"),
    ("/prometheus/credentialsSecret", {"name": "x"}),
    ("/keda/enabled", "yes"),
    ("/metricsApi/enabled", "yes"),
    ("/metricsApi/port", 443),
    ("/podDisruptionBudget/create", "no"),
    ("/networkPolicy/create", "no"),
    ("/networkPolicy/apiServerPorts", []),
    ("/networkPolicy/apiServerPorts/0", [0]),
    ("/networkPolicy/apiServerCIDRs/0", ["10.0.0.1"]),
    ("/networkPolicy/metricsFrom/team", {"team": "a b"}),
    ("/modelNetwork/metricsPeers", []),
    ("/modelNetwork/metricsPeers/0", ["monitoring/prometheus"]),
    ("/modelNetwork/metricsPeers/0", ["monitoring,shop"]),
    ("/modelNetwork/storeNetworks", []),
    ("/modelNetwork/storeNetworks/0", ["10.0.0.1"]),
    ("/modelNetwork/storePorts", []),
    ("/modelNetwork/storePorts/0", ["443"]),
    ("/modelNetwork/identityEndpoints/0", ["169.254.170.23"]),
    ("/monitoring/serviceMonitor/create", "x"),
    ("/monitoring/serviceMonitor/labels", []),
    ("/monitoring/serviceMonitor/interval", 30),
    ("/monitoring/podMonitor/create", "x"),
    ("/monitoring/podMonitor/labels", "x"),
    ("/monitoring/podMonitor/interval", "0s"),
    ("/monitoring/alerts/create", "x"),
    ("/monitoring/alerts/labels/a", {"a": 1}),
    ("/monitoring/alerts/runbook", "docs/operations.md"),
    ("/monitoring/dashboards/create", "x"),
    ("/monitoring/dashboards/labels/grafana_dashboard", {"grafana_dashboard": 1}),
    ("/resources/requests/memory", {"memory": "256 MB"}),
    ("/resources/limits", {"nvidia.com/gpu": 1}),
    ("/podLabels/a", {"a": True}),
    ("/podAnnotations/a", {"a": True}),
    ("/priorityClassName", "High Priority"),
    ("/nodeSelector/a", {"a": 1}),
    ("/tolerations/0/effect", [{"effect": "NoSchedul"}]),
    ("/affinity", {"podAntiAfinity": {}}),
]
MISSPELT = ["replicaCount", "crds.enabled", "image.name", "monitoring.serviceMonitor.enabled", "operator.resyncPeriod"]


def at(path: str, value: Any) -> Values:
    """Values with one at a path; of a list or map the path may lead into it."""
    keys = path.strip("/").split("/")
    if keys[-1] == "0" or (isinstance(value, dict) and keys[-1] in value):
        keys = keys[:-1]
    elif keys[-2:-1] == ["0"]:
        keys = keys[:-2]
    for key in reversed(keys):
        value = {key: value}
    found: Values = value
    return found


def leaves(values: Values, path: str = "") -> set[str]:
    """The paths of all values with a default; a map that users fill is one."""
    found: set[str] = set()
    for key, value in values.items():
        nested = isinstance(value, dict) and value and f"{path}/{key}" not in ("/monitoring/dashboards/labels",)
        found |= leaves(value, f"{path}/{key}") if nested else {f"{path}/{key}"}
    return found


@pytest.mark.parametrize(("path", "value"), WRONG, ids=[f"{path}={json.dumps(value)}" for path, value in WRONG])
def test_a_wrong_value_is_refused_with_its_path(helm: Helm, path: str, value: Any) -> None:
    with pytest.raises(HelmFailed, match=f"at '{path}'"):
        helm.template(at(path, value))


@pytest.mark.parametrize("path", MISSPELT)
def test_a_value_that_does_not_exist_is_refused(helm: Helm, path: str) -> None:
    *_, last = path.split(".")

    with pytest.raises(HelmFailed, match=f"additional properties '{last}' not allowed"):
        helm.template(at(path.replace(".", "/"), True))


def test_helm_lint_refuses_them_too(helm: Helm) -> None:
    with pytest.raises(HelmFailed, match="at '/replicas'"):
        helm.lint({"replicas": 0})


def test_every_value_has_a_wrong_one_in_this_table() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    tried = {path for path, _ in WRONG}

    quantities = {"/resources/requests", "/resources/limits"}
    known = {path for path in leaves(values) if not any(path.startswith(f"{one}/") for one in quantities)} | quantities
    assert {path for path in known if not any(one == path or one.startswith(f"{path}/") for one in tried)} == set()
