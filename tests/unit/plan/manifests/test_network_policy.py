"""Who reaches whom under the policies that we render: pairs that must get through, and pairs that must not.

Each pair is asked twice, for network plugins whose `ipBlock` counts pods and for those whose does not; where the two
must differ, the pair says so.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fakes.network_policy import Host, Network, Place, Pod

from tidegate.api.network import Peer
from tidegate.plan.manifests import platform
from tidegate.plan.manifests.identity import (
    LABEL_COMPONENT,
    LABEL_DEPLOYMENT,
    NETWORK_POLICY,
    RESOLVER,
    SERVER,
    labels,
)
from tidegate.plan.manifests.network import NEVER, network_policy

from .cluster import OF_OLD, Cluster, cluster_of, kinds
from .parts import NEW, OLD, OWNER, asked, plan_of, record, runtime_of, serving, spec_of, wanted

PAGE = Path(__file__).parents[4] / "docs" / "network.md"
NODE, OTHER_NODE = "192.168.0.11", "192.168.0.12"
INSTALLED = platform.Network(
    metrics=(Peer(namespace="tidegate"), Peer(namespace="*", pods={"app.kubernetes.io/name": "prometheus"}))
)


def ours(ip: str, revision: str, component: str = SERVER) -> Pod:
    return Pod(ip, "payments", {**labels(OWNER, revision), LABEL_COMPONENT: component}, NODE)


STABLE, CANDIDATE, JOB = ours("10.1.0.1", OLD), ours("10.1.0.2", NEW), ours("10.1.0.3", "", RESOLVER)
NEIGHBOUR = Pod("10.1.0.4", "payments", {"app": "checkout"})
SAME_KIND = Pod("10.1.0.5", "payments", {LABEL_DEPLOYMENT: "other", LABEL_COMPONENT: SERVER})
GATEWAY = Pod("10.1.1.1", "gateways", {"app": "envoy"})
OPERATOR = Pod("10.1.2.1", "tidegate", {"app.kubernetes.io/name": "tidegate"})
PROMETHEUS = Pod("10.1.3.1", "monitoring", {"app.kubernetes.io/name": "prometheus"})
GRAFANA = Pod("10.1.3.2", "monitoring", {"app.kubernetes.io/name": "grafana"})
COLLECTOR = Pod("10.1.3.3", "monitoring", {"app": "collector"})
DNS = Pod("10.1.4.1", "kube-system", {"k8s-app": "kube-dns"})
OPENSHIFT = Pod("10.1.4.2", "openshift-dns", {"dns.operator.openshift.io/daemonset-dns": "default"})
MINIO = Pod("10.1.5.1", "minio", {"app": "minio"})
NODE_DNS, METADATA, POD_IDENTITY = Host("169.254.20.10"), Host("169.254.169.254"), Host("169.254.170.23")
ALIBABA, V6_METADATA, V6_LOCAL = Host("100.100.100.200"), Host("fd00:ec2::254"), Host("fe80::1")
STORE, V6_STORE, OUTSIDE = Host("52.218.0.10"), Host("2600:1fa0::10"), Host("203.0.113.9")
NAMESPACES = {
    name: {"kubernetes.io/metadata.name": name}
    for name in ("payments", "gateways", "tidegate", "monitoring", "kube-system", "openshift-dns", "minio")
}

Pair = tuple[Place, Place, int] | tuple[Place, Place, int, str]


def rendered(spec: dict[str, Any], installed: platform.Network = INSTALLED, *records: Any) -> dict[str, Any] | None:
    return network_policy(OWNER, spec_of(**spec), records, installed)


def allowed(spec: dict[str, Any], pair: Pair, installed: platform.Network = INSTALLED, *records: Any) -> bool:
    """Whether the pair gets through; both kinds of network plugins must say the same."""
    policy = rendered(spec, installed, *records)
    answers = {
        Network(NAMESPACES, (policy,) if policy else (), blocks_hold_pods).allows(*pair)
        for blocks_hold_pods in (True, False)
    }
    assert len(answers) == 1, "it depends on the network plugin"
    return answers.pop()


# -- by default

THROUGH: list[Pair] = [
    (NEIGHBOUR, STABLE, 8080), (GATEWAY, STABLE, 8080), (GATEWAY, CANDIDATE, 9000), (OUTSIDE, STABLE, 8080),
    (OPERATOR, STABLE, 9090), (OPERATOR, CANDIDATE, 9090), (PROMETHEUS, STABLE, 9090),
    (STABLE, CANDIDATE, 9090), (CANDIDATE, STABLE, 9090),
    (Host(NODE), STABLE, 9090),  # the kubelet's probes
    (STABLE, DNS, 53, "UDP"), (STABLE, DNS, 53, "TCP"), (JOB, DNS, 53, "UDP"), (STABLE, NODE_DNS, 53, "UDP"),
    (STABLE, OUTSIDE, 53, "UDP"), (STABLE, OPENSHIFT, 5353, "UDP"), (JOB, OPENSHIFT, 5353, "TCP"),
    (STABLE, STORE, 443), (JOB, STORE, 443), (CANDIDATE, V6_STORE, 443), (STABLE, MINIO, 443),
]  # fmt: skip
REFUSED: list[Pair] = [
    (NEIGHBOUR, STABLE, 9090), (GRAFANA, STABLE, 9090), (GATEWAY, STABLE, 9090), (OUTSIDE, STABLE, 9090),
    (SAME_KIND, STABLE, 9090), (STABLE, SAME_KIND, 9090), (JOB, STABLE, 9090), (Host(OTHER_NODE), STABLE, 9090),
    (NEIGHBOUR, STABLE, 22), (OPERATOR, STABLE, 22), (OPERATOR, JOB, 22), (GATEWAY, STABLE, 8080, "UDP"),
    (STABLE, METADATA, 80), (JOB, METADATA, 80), (STABLE, METADATA, 443), (JOB, METADATA, 443),
    (STABLE, ALIBABA, 443), (STABLE, V6_METADATA, 443), (STABLE, V6_LOCAL, 443), (JOB, POD_IDENTITY, 443),
    (STABLE, OUTSIDE, 80), (STABLE, MINIO, 9000), (JOB, MINIO, 9000), (STABLE, NEIGHBOUR, 8080),
    (STABLE, DNS, 5353, "UDP"), (STABLE, OPENSHIFT, 9154), (STABLE, NODE_DNS, 443), (STABLE, NODE_DNS, 80),
    (STABLE, STORE, 443, "UDP"), (STABLE, COLLECTOR, 4318), (STABLE, OPERATOR, 8081), (STABLE, CANDIDATE, 8080),
    (JOB, STABLE, 8080), (STABLE, PROMETHEUS, 9090), (STABLE, Host(NODE), 10250),
]  # fmt: skip


@pytest.mark.parametrize("pair", THROUGH, ids=str)
def test_what_every_deployment_needs_gets_through(pair: Pair) -> None:
    assert allowed({}, pair)


@pytest.mark.parametrize("pair", REFUSED, ids=str)
def test_everything_else_is_refused(pair: Pair) -> None:
    assert not allowed({}, pair)


@pytest.mark.parametrize("pair", REFUSED, ids=str)
def test_what_is_refused_is_refused_by_our_policy(pair: Pair) -> None:
    """Switched off, it is open: a pair that could never be would prove nothing."""
    assert allowed({"networkPolicy": {"enabled": False}}, pair)


# -- clients

CLIENTS = {
    "clients": [
        {"namespace": "gateways"},
        {"pods": {"app": "checkout"}},
        {"namespace": "monitoring", "pods": {"app.kubernetes.io/name": "grafana"}},
        {"cidr": "203.0.113.0/24"},
    ]
}


@pytest.mark.parametrize(
    ("source", "through"),
    [
        (GATEWAY, True), (NEIGHBOUR, True), (GRAFANA, True), (OUTSIDE, True),
        (SAME_KIND, False), (PROMETHEUS, False), (OPERATOR, False), (Host("203.0.112.1"), False),
        (replace(GATEWAY, namespace="minio"), False), (replace(NEIGHBOUR, namespace="gateways", labels={}), True),
        (replace(NEIGHBOUR, namespace="minio"), False), (Host(NODE), True),
    ],
    ids=str,
)  # fmt: skip
def test_where_clients_are_named_only_they_send_requests(source: Place, *, through: bool) -> None:
    assert allowed({"networkPolicy": CLIENTS}, (source, STABLE, 8080)) is through
    assert allowed({"networkPolicy": CLIENTS}, (source, STABLE, 9000)) is through


def test_clients_get_no_port_but_that_of_requests() -> None:
    assert not allowed({"networkPolicy": CLIENTS}, (GATEWAY, STABLE, 9090))
    assert allowed({"networkPolicy": CLIENTS}, (OPERATOR, STABLE, 9090))
    assert allowed({"networkPolicy": CLIENTS}, (STABLE, CANDIDATE, 9090))


def test_pods_of_every_namespace_can_be_named() -> None:
    anywhere = {"clients": [{"namespace": "*", "pods": {"app": "checkout"}}]}

    assert allowed({"networkPolicy": anywhere}, (replace(NEIGHBOUR, namespace="minio"), STABLE, 8080))
    assert not allowed({"networkPolicy": anywhere}, (GATEWAY, STABLE, 8080))
    assert allowed({"networkPolicy": {"clients": [{"namespace": "*"}]}}, (GATEWAY, STABLE, 8080))
    assert not allowed({"networkPolicy": {"clients": [{"namespace": "*"}]}}, (OUTSIDE, STABLE, 8080))


# -- stores


@pytest.mark.parametrize(
    ("spec", "pair", "through"),
    [
        ({"bundle": {"uri": "https://models.example.com:8443/a/1"}}, (JOB, OUTSIDE, 8443), True),
        ({"bundle": {"uri": "https://models.example.com:8443/a/1"}}, (STABLE, MINIO, 8443), True),
        ({"bundle": {"uri": "https://models.example.com:8443/a/1"}}, (STABLE, METADATA, 8443), False),
        ({"bundle": {"uri": "https://models.example.com/a/1"}}, (STABLE, OUTSIDE, 8443), False),
        ({"bundle": {"uri": "pvc://models/a/1"}}, (STABLE, STORE, 443), False),
        ({"bundle": {"uri": "pvc://models/a/1"}}, (JOB, STORE, 443), False),
        ({"bundle": {"uri": "pvc://models/a/1"}}, (JOB, DNS, 53, "UDP"), True),
    ],
    ids=str,
)
def test_a_store_is_reached_by_the_port_of_its_address(spec: dict[str, Any], pair: Pair, *, through: bool) -> None:
    assert allowed(spec, pair) is through


def test_an_endpoint_of_a_store_in_the_spec_opens_its_port() -> None:
    in_cluster = {"env": [{"name": "AWS_ENDPOINT_URL_S3", "value": "http://minio.minio:9000"}]}
    plain = {"env": [{"name": "AWS_ENDPOINT_URL", "value": "http://minio.minio"}]}

    assert allowed({"runtime": in_cluster}, (JOB, MINIO, 9000))
    assert allowed({"runtime": plain}, (JOB, MINIO, 80))
    assert not allowed({"runtime": plain}, (JOB, METADATA, 80))


@pytest.mark.parametrize("written", ["http://[::1", "minio:9000x", "http://minio:99999", ""])
def test_an_endpoint_that_is_none_opens_nothing(written: str) -> None:
    runtime = {"env": [{"name": "AWS_ENDPOINT_URL", "value": written}]}

    assert rendered({"runtime": runtime}) == rendered({})


def test_a_version_that_still_serves_keeps_its_store() -> None:
    """Its pods may be made anew at any time, on another node."""
    before = record(OLD, uri="https://models.example.com:8443/a/1")

    assert allowed({"bundle": {"uri": "pvc://models/a/2"}}, (STABLE, OUTSIDE, 8443), INSTALLED, before)
    assert not allowed({"bundle": {"uri": "pvc://models/a/2"}}, (STABLE, OUTSIDE, 8443), INSTALLED)


def test_an_installation_may_say_where_stores_are() -> None:
    at_home = replace(INSTALLED, stores=("10.20.0.0/16",), store_ports=(443, 9000))

    assert allowed({}, (JOB, Host("10.20.0.7"), 9000), at_home)
    assert allowed({}, (JOB, Host("10.20.0.7"), 443), at_home)
    assert not allowed({}, (JOB, STORE, 443), at_home)
    assert not allowed({}, (JOB, MINIO, 9000), at_home)


def test_an_endpoint_of_identities_is_open_where_it_is_set_and_no_other_beside_it() -> None:
    with_identity = replace(INSTALLED, identity=(("169.254.170.23", 80), ("fd00:ec2::23", 80)))

    assert allowed({}, (JOB, POD_IDENTITY, 80), with_identity)
    assert allowed({}, (STABLE, Host("fd00:ec2::23"), 80), with_identity)
    assert not allowed({}, (JOB, POD_IDENTITY, 443), with_identity)
    assert not allowed({}, (JOB, METADATA, 80), with_identity)
    assert not allowed({"bundle": {"uri": "pvc://models/a/1"}}, (JOB, POD_IDENTITY, 80), with_identity)


# -- collectors, and what a spec adds


@pytest.mark.parametrize(
    ("name", "value", "port"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.monitoring:4318", 4318),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector.example.com/v1/traces", 443),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.monitoring", 80),
    ],
)
def test_a_collector_of_traces_is_reached_by_its_port(name: str, value: str, port: int) -> None:
    spec = {"bundle": {"uri": "pvc://models/a/1"}, "runtime": {"env": [{"name": name, "value": value}]}}

    assert allowed(spec, (STABLE, COLLECTOR, port))
    assert allowed(spec, (STABLE, OUTSIDE, port))
    assert not allowed(spec, (STABLE, METADATA, port))
    assert not allowed(spec, (STABLE, COLLECTOR, port + 1))


def test_a_version_that_still_serves_keeps_its_collector() -> None:
    traced = runtime_of(env=[{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector.monitoring:4318"}])

    assert allowed({}, (STABLE, COLLECTOR, 4318), INSTALLED, record(OLD, runtime=traced))


@pytest.mark.parametrize(
    ("to", "reached", "not_reached"),
    [
        ({"namespace": "minio", "pods": {"app": "minio"}}, MINIO, replace(MINIO, labels={})),
        ({"namespace": "minio"}, replace(MINIO, labels={}), replace(MINIO, namespace="gateways")),
        ({"pods": {"app": "checkout"}}, NEIGHBOUR, SAME_KIND),
        ({"cidr": "203.0.113.9/32"}, OUTSIDE, STORE),
        ({"cidr": "128.0.0.0/1"}, OUTSIDE, METADATA),
        ({"cidr": "::/0"}, V6_STORE, V6_METADATA),
    ],
    ids=str,
)
def test_what_a_spec_adds_is_reached_on_its_ports(to: dict[str, Any], reached: Place, not_reached: Place) -> None:
    spec = {"networkPolicy": {"egress": [{"to": to, "ports": [9000, 9001]}]}}

    assert allowed(spec, (JOB, reached, 9000))
    assert allowed(spec, (STABLE, reached, 9001))
    assert not allowed(spec, (STABLE, reached, 9002))
    assert not allowed(spec, (STABLE, not_reached, 9000))


# -- the page


def written_on_the_page() -> dict[str, Any]:
    [block] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)
    spec: dict[str, Any] = yaml.safe_load(block)["spec"]
    return spec


@pytest.mark.parametrize(
    ("pair", "through"),
    [
        ((GATEWAY, STABLE, 8080), True), ((GATEWAY, STABLE, 9000), True), ((GATEWAY, STABLE, 9090), False),
        ((NEIGHBOUR, STABLE, 8080), True), ((replace(NEIGHBOUR, namespace="minio"), STABLE, 8080), False),
        ((STABLE, MINIO, 9000), True), ((JOB, MINIO, 9000), True), ((STABLE, replace(MINIO, labels={}), 9000), False),
        ((OPERATOR, STABLE, 9090), True), ((OUTSIDE, STABLE, 8080), False), ((Host("10.20.0.7"), STABLE, 8080), True),
    ],
    ids=str,
)  # fmt: skip
def test_the_pairs_of_the_page_are_as_it_says(pair: Pair, *, through: bool) -> None:
    assert allowed(written_on_the_page(), pair) is through


def test_the_page_names_every_address_that_is_never_reached() -> None:
    page = PAGE.read_text()

    assert [one for one in map(str, NEVER) if one.removesuffix("/32").removesuffix("/128") not in page] == []


# -- its life


def test_it_is_there_before_the_job_and_before_the_pods() -> None:
    first = kinds(Cluster().effects(plan_of(resolve=asked())).changes)
    then = kinds(Cluster().effects(serving(OLD)).changes)

    assert first == ["Create NetworkPolicy fraud-network", "Create Job fraud-fedcba9876-1"]
    assert then.index("Create NetworkPolicy fraud-network") < then.index(f"Create Deployment {OF_OLD}")


def test_a_rollout_writes_nothing_to_it() -> None:
    cluster = cluster_of(serving(OLD))

    for weights in ({OLD: 100}, {OLD: 50, NEW: 50}, {NEW: 100}):
        cluster.settle(plan_of(wanted(OLD), wanted(NEW), weights=weights, stable=OLD))
    cluster.settle(serving(NEW))

    assert not [text for text in kinds(cluster.writes) if "NetworkPolicy" in text]


def test_it_goes_when_it_is_switched_off_and_comes_back() -> None:
    cluster = cluster_of(serving(OLD), paused=False)
    off, on = spec_of(networkPolicy={"enabled": False}), spec_of()

    cluster.spec = off
    assert kinds(cluster.carry_out(serving(OLD))) == ["Delete NetworkPolicy fraud-network"]
    assert cluster.carry_out(serving(OLD)) == []
    cluster.spec = on
    assert kinds(cluster.carry_out(serving(OLD))) == ["Create NetworkPolicy fraud-network"]


def test_a_change_of_the_spec_is_applied_and_restarts_nothing() -> None:
    cluster = cluster_of(serving(OLD), paused=False)
    cluster.spec = spec_of(networkPolicy={"clients": [{"namespace": "gateways"}]})

    assert kinds(cluster.carry_out(serving(OLD))) == ["Apply NetworkPolicy fraud-network"]
    assert cluster.carry_out(serving(OLD)) == []


EDITS: list[tuple[list[str | int], object]] = [
    (["podSelector"], {}),
    (["podSelector", "matchExpressions"], [{"key": "a", "operator": "Exists"}]),
    (["podSelector", "matchLabels", "mine"], "yes"),
    (["policyTypes"], ["Ingress"]),
    (["ingress"], [{}]),
    (["ingress"], None),
    (["ingress", 0, "from"], [{"podSelector": {}}]),
    (["ingress", 1, "from"], []),
    (["ingress", 1, "from", 0], {"namespaceSelector": {}}),
    (["ingress", 1, "ports", 0, "endPort"], 9999),
    (["egress", 0, "ports"], []),
    (["egress", 2, "to", 0, "namespaceSelector"], {}),
    (["egress", 3, "to", 0, "ipBlock"], {"cidr": "0.0.0.0/0"}),
]


@pytest.mark.parametrize(("path", "value"), EDITS, ids=str)
def test_what_somebody_edits_is_mended_by_one_apply(path: list[str | int], value: object) -> None:
    """Also what was only added, or taken away: in a rule both may let somebody in."""
    cluster = cluster_of(serving(OLD))
    *parents, last = path
    part: Any = cluster.live(NETWORK_POLICY, "fraud-network")["spec"]
    for step in parents:
        part = part[step]
    part[last] = value

    assert kinds(cluster.carry_out(serving(OLD))) == ["Apply NetworkPolicy fraud-network"]
    assert cluster.carry_out(serving(OLD)) == []


def test_a_network_with_more_than_its_own_bits_is_written_as_the_network() -> None:
    policy = rendered({"networkPolicy": {"clients": [{"cidr": "10.20.0.7/16"}]}})

    assert policy is not None
    assert policy["spec"]["ingress"][0]["from"] == [{"ipBlock": {"cidr": "10.20.0.0/16"}}]


def test_the_policy_is_the_same_whatever_the_order_of_versions() -> None:
    versions = [record(OLD, uri="https://a.example.com:8443/1/1"), record(NEW, uri="https://b.example.com:9443/1/1")]

    assert rendered({}, INSTALLED, *versions) == rendered({}, INSTALLED, *reversed(versions))


def test_the_default_platform_lets_siblings_alone_read_metrics() -> None:
    alone = platform.Network()

    assert not allowed({}, (OPERATOR, STABLE, 9090), alone)
    assert allowed({}, (CANDIDATE, STABLE, 9090), alone)
