from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from tidegate.api.network import Peer
from tidegate.cluster.main import platform_of
from tidegate.cluster.settings import FLAGS, OperatorSettings, own_identity, read_settings
from tidegate.errors import UsageError
from tidegate.plan.manifests.platform import Network

IMAGE = {"runtime_image": "registry.example/tidegate-runtime@sha256:" + "0" * 64}


def test_without_more_than_an_image_there_are_defaults() -> None:
    settings = read_settings(IMAGE, {})

    assert settings.namespaces == ()
    assert settings.runtime_image == IMAGE["runtime_image"]
    assert (settings.workers, settings.probe_port, settings.resync) == (8, 8081, 36_000)
    assert settings.lease_namespace == "default"
    assert settings.token_file is None


def test_every_row_is_a_field_and_every_field_a_row() -> None:
    assert [flag.field for flag in FLAGS] == [field.name for field in fields(OperatorSettings)]


def test_a_flag_goes_before_the_environment_and_that_before_the_default() -> None:
    environment = {"TIDEGATE_WORKERS": "3", "TIDEGATE_LOG_LEVEL": "debug"}
    settings = read_settings({**IMAGE, "workers": "5"}, environment)

    assert (settings.workers, settings.log_level) == (5, "debug")


def test_an_empty_variable_is_none() -> None:
    assert read_settings(IMAGE, {"TIDEGATE_WORKERS": "", "TIDEGATE_IDENTITY": ""}).workers == 8


def test_the_kubeconfig_is_where_every_tool_looks_for_it() -> None:
    assert read_settings(IMAGE, {"KUBECONFIG": "/a:/b"}).kubeconfig == "/a:/b"


def test_namespaces_are_a_list_with_commas() -> None:
    assert read_settings({**IMAGE, "namespaces": "team-a, team-b,team-a,"}, {}).namespaces == ("team-a", "team-b")


def test_a_token_file_is_a_path() -> None:
    assert read_settings({**IMAGE, "token_file": "/t/token"}, {}).token_file == Path("/t/token")


def test_readers_of_metrics_are_namespaces_labels_and_networks() -> None:
    text = "monitoring, */app.kubernetes.io/name=prometheus,ops/app=scraper&team=ops,10.1.0.0/16,fd00:1::/48,ops/a="

    assert read_settings({**IMAGE, "metrics_peers": text}, {}).metrics_peers == (
        Peer(namespace="monitoring"),
        Peer(namespace="*", pods={"app.kubernetes.io/name": "prometheus"}),
        Peer(namespace="ops", pods={"app": "scraper", "team": "ops"}),
        Peer(cidr="10.1.0.0/16"),
        Peer(cidr="fd00:1::/48"),
        Peer(namespace="ops", pods={"a": ""}),
    )


def test_stores_and_identities_are_networks_ports_and_addresses() -> None:
    given = {"store_networks": "10.0.0.0/8,::/0", "store_ports": "443, 9000,443",
             "identity_endpoints": "169.254.170.23:80,[fd00:ec2::23]:80"}  # fmt: skip
    settings = read_settings({**IMAGE, **given}, {})

    assert settings.store_networks == ("10.0.0.0/8", "::/0")
    assert settings.store_ports == (443, 9000)
    assert settings.identity_endpoints == (("169.254.170.23", 80), ("fd00:ec2::23", 80))


def test_by_default_bundles_come_from_anywhere_by_https_and_no_identity_is_given() -> None:
    network = platform_of(read_settings({**IMAGE, "lease_namespace": "tidegate"}, {})).network

    prometheus = Peer(namespace="*", pods={"app.kubernetes.io/name": "prometheus"})
    assert network == Network(metrics=(Peer(namespace="tidegate"), prometheus))
    assert (network.stores, network.store_ports, network.identity) == (("0.0.0.0/0", "::/0"), (443,), ())


def test_the_image_is_required() -> None:
    with pytest.raises(UsageError, match="--runtime-image: the image"):
        read_settings({}, {})


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("namespaces", "Team_A"),
        ("namespaces", "a/b"),
        ("runtime_image", "an image"),
        ("lease_name", "x" * 64),
        ("identity", "two\nlines"),
        ("probe_port", "65536"),
        ("probe_port", "-1"),
        ("log_level", "loud"),
        ("workers", "0"),
        ("workers", "1e3"),
        ("workers", "\u0663"),  # a digit, but not one of ours
        ("resync", "10"),
        ("resync", "1s"),
        ("resync", "169h"),
        ("measure_concurrency", "0"),
        ("metrics_peers", "Monitoring"),
        ("metrics_peers", "monitoring/prometheus"),
        ("metrics_peers", "monitoring/"),
        ("metrics_peers", "monitoring/app=a b"),
        ("metrics_peers", "10.0.0.0/33"),
        ("metrics_peers", "a/app=b=c"),
        ("metrics_peers", ",".join(f"n{i}" for i in range(33))),
        ("store_networks", "10.0.0.1/8"),  # is it one address, or the network?
        ("store_networks", "example.com"),
        ("store_ports", "0"),
        ("store_ports", "65536"),
        ("store_ports", "443-444"),
        ("keda", "true"),
        ("metrics_api_address", "metrics"),
        ("metrics_api_address", "0.0.0.0"),
        ("metrics_api_address", "127.0.0.1"),
        ("identity_endpoints", "169.254.169.254"),
        ("identity_endpoints", "fd00:ec2::23:80"),
        ("identity_endpoints", "[169.254.169.254]:80"),
        ("identity_endpoints", "metadata:80"),
    ],
)
def test_nonsense_is_refused_by_the_name_of_its_flag(field: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"--{field.replace('_', '-')}"):
        read_settings({**IMAGE, field: text}, {})


def test_metrics_are_served_at_an_address_of_our_own_where_one_is_given() -> None:
    assert read_settings(IMAGE, {}).metrics_api_address == ""
    assert read_settings(IMAGE, {"TIDEGATE_METRICS_API_ADDRESS": "fd00::7"}).metrics_api_address == "fd00::7"


def test_keda_may_ask_the_servers_that_specs_may_name() -> None:
    servers = {**IMAGE, "prometheus": "main=http://prometheus.monitoring:9090"}

    assert platform_of(read_settings(servers, {})).keda is None
    assert platform_of(read_settings({**servers, "keda": "yes"}, {})).keda == {
        "main": "http://prometheus.monitoring:9090"
    }


def test_an_identity_is_never_the_same_twice() -> None:
    """A restart under the same name must not look like the process before it."""
    assert own_identity() != own_identity()
    assert len(own_identity()) <= 253


def test_the_help_shows_defaults() -> None:
    shown = {flag.name: flag.shown for flag in FLAGS}

    assert shown["workers"].endswith("[8]")
    assert not shown["namespaces"].endswith("]")
