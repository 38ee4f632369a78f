"""What helm makes of the chart: a real API server takes every variant, the operator takes its flags, no rule is broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.chart.helm import CHART, HOME, Helm, container, one
from tests.chart.rules import RULES, findings
from tests.chart.variants import VARIANTS
from tests.control_plane import programs
from tests.control_plane.client import APPLY, ApiError, path_of
from tests.control_plane.plane import Plane
from tests.control_plane.resources import Object
from tests.fakes.network_policy import Network, Pod

from tidegate.api.network import Peer
from tidegate.api.spec import ModelDeploymentSpec
from tidegate.cluster.main import platform_of
from tidegate.cluster.settings import FLAGS, OperatorSettings, read_settings
from tidegate.plan.manifests.identity import LABEL_COMPONENT, SERVER, Owner, labels
from tidegate.plan.manifests.network import network_policy
from tidegate.plan.manifests.pods import METRICS_PORT

ROOT = Path(__file__).parents[2]
BARE = {"runtime_image": "registry.example.com/runtime:1", "lease_namespace": HOME}
STRICT = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "helm", "force": "true"}


@pytest.fixture(scope="module")
def server(api_server: Plane, monitoring_crds: list[Path]) -> Plane:
    """With the Prometheus operator's kinds, and namespaces in which pods must be restricted."""
    api_server.install(*monitoring_crds)
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    for name in (HOME, "shop", "bank"):
        api_server.client.apply({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": restricted},
        })  # fmt: skip
    api_server.client.apply({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "tidegate-operator", "namespace": HOME},
    })  # fmt: skip
    return api_server


def settings(deployment: Object) -> OperatorSettings:
    """As the operator would read the arguments of its container."""
    command, *rest = container(deployment)["args"]
    assert command == "operator"
    given = {
        name.removeprefix("--").replace("-", "_"): value for name, _, value in (arg.partition("=") for arg in rest)
    }
    assert set(given) <= {flag.field for flag in FLAGS}
    return read_settings(given, {})


def test_helm_finds_nothing_to_mend(helm: Helm) -> None:
    told = helm.lint()

    assert "WARNING" not in told
    assert "0 chart(s) failed" in told


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_real_api_server_takes_every_object(helm: Helm, server: Plane, variant: str) -> None:
    for obj in helm.template(VARIANTS[variant]):
        server.client.request("PATCH", path_of(obj), obj, query=STRICT, form=APPLY)


def test_an_api_server_that_takes_everything_would_be_noticed(helm: Helm, server: Plane) -> None:
    deployment = one(helm.template(), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"

    with pytest.raises(ApiError, match="imagePolicy"):
        server.client.request("PATCH", path_of(deployment), deployment, query=STRICT, form=APPLY)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_restricted_pod_standard_lets_the_operator_in(helm: Helm, server: Plane, variant: str) -> None:
    template = one(helm.template(VARIANTS[variant]), "Deployment")["spec"]["template"]
    template["spec"] |= {"serviceAccountName": "tidegate-operator", "priorityClassName": ""}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "operator", "namespace": HOME},
        "spec": template["spec"],
    }

    server.client.request("PATCH", path_of(pod), pod, query=STRICT, form=APPLY)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_operator_takes_its_arguments(helm: Helm, variant: str) -> None:
    found = settings(one(helm.template(VARIANTS[variant]), "Deployment"))

    assert found.probe_port == 8081
    assert found.lease_namespace == HOME
    assert found.lease_name == "tidegate-operator"


def test_each_value_of_the_operator_reaches_it(helm: Helm) -> None:
    parts = ("a busy operator", "Prometheus as evidence", "traced")
    values = {name: part for one in parts for name, part in VARIANTS[one].items()} | {"namespaces": ["shop", "bank"]}

    found = settings(one(helm.template(values), "Deployment"))

    assert (found.log_level, found.workers, found.resync, found.measure_concurrency) == ("debug", 32, 5400, 256)
    assert found.namespaces == ("shop", "bank")
    assert found.prometheus == VARIANTS["Prometheus as evidence"]["prometheus"]["servers"]
    assert str(found.prometheus_credentials) == "/var/run/tidegate/prometheus"
    assert found.otlp_endpoint == "http://collector.observability:4318/v1/traces"


def test_what_model_servers_may_reach_is_told_to_the_operator(helm: Helm) -> None:
    default = settings(one(helm.template(), "Deployment"))
    at_home = settings(one(helm.template(VARIANTS["stores and metrics at home"]), "Deployment"))

    assert platform_of(default).network == platform_of(read_settings(BARE, {})).network
    assert at_home.metrics_peers == (
        Peer(namespace="monitoring", pods={"app": "prometheus", "team": "ops"}),
        Peer(cidr="10.1.0.0/16"),
    )
    assert (at_home.store_networks, at_home.store_ports) == (("10.20.0.0/16",), (443, 9000))
    assert at_home.identity_endpoints == (("169.254.170.23", 80), ("fd00:ec2::23", 80))


def test_the_policies_of_operator_and_servers_let_it_read_their_counters(helm: Helm) -> None:
    """Both have to: its own, which lets it out, and that of the deployment, which lets it in."""
    objects = helm.template()
    spec = ModelDeploymentSpec.model_validate({"bundle": {"uri": "s3://models/fraud/1"}})
    owner, installed = Owner("shop", "fraud", "uid"), platform_of(settings(one(objects, "Deployment"))).network
    theirs = network_policy(owner, spec, [], installed)
    assert theirs
    operator = Pod("10.1.0.1", HOME, one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"])
    server = Pod("10.1.0.2", "shop", {**labels(owner, "a"), LABEL_COMPONENT: SERVER})
    named = {name: {"kubernetes.io/metadata.name": name} for name in (HOME, "shop")}
    network = Network(named, (one(objects, "NetworkPolicy"), theirs))

    assert network.allows(operator, server, METRICS_PORT)
    assert not network.allows(operator, server, 22)
    assert not network.allows(server, operator, 8081)


def test_files_that_flags_name_are_mounted(helm: Helm) -> None:
    deployment = one(helm.template(VARIANTS["Prometheus as evidence"]), "Deployment")

    found, folders = settings(deployment), [row["mountPath"] for row in container(deployment)["volumeMounts"]]
    assert sorted(folders) == sorted(
        [str(found.token_file.parent if found.token_file else ""), str(found.prometheus_credentials)]
    )


def test_probes_ask_the_port_that_the_operator_opens(helm: Helm) -> None:
    deployment = one(helm.template(), "Deployment")

    [port] = container(deployment)["ports"]
    assert port["containerPort"] == settings(deployment).probe_port
    for probe in ("livenessProbe", "readinessProbe"):
        assert container(deployment)[probe]["httpGet"]["port"] == port["name"]


def test_the_default_breaks_no_rule(helm: Helm) -> None:
    assert findings(helm.template()) == []


def test_namespaces_instead_of_the_cluster_break_no_rule(helm: Helm) -> None:
    assert findings(helm.template(VARIANTS["two namespaces"] | VARIANTS["everything of monitoring"])) == []


def test_every_rule_finds_what_it_is_for(helm: Helm) -> None:
    objects = helm.template()
    role, account = one(objects, "ClusterRole", "tidegate-operator"), one(objects, "ServiceAccount")
    deployment = one(objects, "Deployment")
    role["rules"].append({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]})
    account["automountServiceAccountToken"] = True
    del account["metadata"]["labels"], account["metadata"]["namespace"]
    deployment["spec"]["replicas"] = 1
    pod = deployment["spec"]["template"]["spec"]
    pod |= {"hostNetwork": True, "securityContext": {}}
    pod["containers"] = [{
        "name": "operator", "image": "tidegate-operator", "resources": {}, "args": ["--password=x"],
        "livenessProbe": {"httpGet": {"path": "/"}}, "readinessProbe": {"httpGet": {"path": "/"}},
    }]  # fmt: skip
    kept = [obj for obj in objects if obj["kind"] not in ("PodDisruptionBudget", "NetworkPolicy")]

    assert {found.partition(":")[0] for found in findings(kept)} == set(RULES)


def test_the_page_lists_the_rules() -> None:
    page = (ROOT / "docs/install.md").read_text().partition("## What the defaults are held to")[2]

    assert set(re.findall(r"^\| `([a-z-]+)` \|", page, re.M)) == set(RULES)


def roles(objects: list[Object]) -> dict[str, list[Object]]:
    """The rules of each role, by its namespace and name; without those for people."""
    found = [obj for obj in objects if obj["kind"] in ("ClusterRole", "Role")]
    return {
        f"{obj['metadata'].get('namespace', '*')}/{obj['metadata']['name']}": obj["rules"]
        for obj in found
        if obj["metadata"]["labels"]["app.kubernetes.io/component"] == "operator"
    }


def test_the_rights_are_those_that_the_operator_is_tested_with(helm: Helm) -> None:
    rights = yaml.safe_load((CHART / "files/rights.yaml").read_text())

    assert roles(helm.template()) == {
        "*/tidegate-operator": rights["models"] + rights["cluster"],
        f"{HOME}/tidegate-operator-lease": rights["lease"],
    }


def test_the_page_on_rights_has_each_of_them() -> None:
    rights = yaml.safe_load((CHART / "files/rights.yaml").read_text())
    section = (ROOT / "docs/rbac.md").read_text().partition("## The operator")[2].partition("\n\nThere is")[0]

    told = {
        resource: set(verbs.split(", "))
        for resources, verbs in re.findall(r"^\| (`.*?) \| (.*?) \|", section, re.M)
        for resource in re.findall(r"`(.*?)`", resources)
    }
    assert told.pop("leases") == {"create; get and update of its own"}
    assert told == {
        resource: set(rule["verbs"])
        for rule in rights["models"] + rights["cluster"] + rights["keda"]
        for resource in rule.get("resources", rule.get("nonResourceURLs"))
    }


def test_told_namespaces_it_has_no_right_on_the_cluster(helm: Helm) -> None:
    rights = yaml.safe_load((CHART / "files/rights.yaml").read_text())

    assert roles(helm.template(VARIANTS["two namespaces"])) == {
        "shop/tidegate-operator": rights["models"],
        "bank/tidegate-operator": rights["models"],
        f"{HOME}/tidegate-operator-lease": rights["lease"],
    }


@pytest.mark.parametrize("namespaces", [[], ["shop"]])
def test_with_keda_it_may_touch_scaled_objects_where_models_are(helm: Helm, namespaces: list[str]) -> None:
    rights = yaml.safe_load((CHART / "files/rights.yaml").read_text())
    found = helm.template(VARIANTS["KEDA"] | {"namespaces": namespaces})

    of_models = roles(found)["shop/tidegate-operator" if namespaces else "*/tidegate-operator"]
    assert [rule for rule in of_models if rule not in rights["cluster"]] == rights["models"] + rights["keda"]
    assert settings(one(found, "Deployment")).keda
    assert not settings(one(helm.template(), "Deployment")).keda


def test_the_crd_is_the_generated_one(helm: Helm) -> None:
    crd = one(helm.template(), "CustomResourceDefinition")

    [generated] = (ROOT / "crds").glob("*.yaml")
    assert crd["spec"] == yaml.safe_load(generated.read_text())["spec"]
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_a_release_is_as_new_as_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    [version] = re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)

    assert chart["version"] == chart["appVersion"] == version


def test_images_have_the_names_that_the_containerfile_gives_them(helm: Helm) -> None:
    text = (ROOT / "runtime_image/Containerfile").read_text()
    deployment = one(helm.template(), "Deployment")

    for image, target in ((settings(deployment).runtime_image, "cpu"), (container(deployment)["image"], "operator")):
        assert re.search(rf"--target {target} +-t {re.escape(image)} ", text)
        assert f" AS {target}\n" in text


def test_of_two_images_each_has_its_own_registry_or_that_of_both(helm: Helm) -> None:
    def images(**values: object) -> tuple[str, str]:
        deployment = one(helm.template(values), "Deployment")
        return container(deployment)["image"], settings(deployment).runtime_image

    assert images(image={"registry": "r.example.com/ml/"}) == (
        "r.example.com/ml/tidegate-operator:0.1.0", "r.example.com/ml/tidegate-runtime:0.1.0-cpu",
    )  # fmt: skip
    assert images(**VARIANTS["images by digest"]) == (
        f"registry.example.com:5000/ml/tidegate-operator@sha256:{'a' * 64}",
        f"other.example.com/tidegate-runtime@sha256:{'b' * 64}",
    )


def test_the_network_lets_prometheus_be_asked_where_it_listens(helm: Helm) -> None:
    policy = one(helm.template(VARIANTS["Prometheus as evidence"]), "NetworkPolicy")

    *_, prometheus = policy["spec"]["egress"]
    assert sorted(row["port"] for row in prometheus["ports"]) == [443, 9090]


def test_the_network_lets_a_collector_be_reached_where_it_listens(helm: Helm) -> None:
    policy = one(helm.template(VARIANTS["traced"]), "NetworkPolicy")

    assert policy["spec"]["egress"][-1]["ports"] == [{"port": 4318, "protocol": "TCP"}]


def test_pods_are_told_apart_from_model_servers(helm: Helm) -> None:
    """A selector of the chart that found models, or the other way round, would send requests to the wrong ones."""
    labels = one(helm.template(VARIANTS["special nodes"]), "Deployment")["spec"]["template"]["metadata"]["labels"]

    assert labels == {"app.kubernetes.io/name": "tidegate", "app.kubernetes.io/component": "operator", "team": "ml"}


def test_the_helm_that_is_fetched_is_the_one_that_other_machines_build(helm: Helm) -> None:
    assert helm.run("version", "--template", "{{.Version}}") == programs.HELM.version
