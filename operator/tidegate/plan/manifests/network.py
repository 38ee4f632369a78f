"""The NetworkPolicy of a deployment: one for all of its pods, servers and Jobs of every revision.

    in    8080, 9000   requests: from everybody, or from `networkPolicy.clients`
          9090         metrics and internal endpoints: from operator, Prometheus and sibling servers
    out   53           DNS, wherever it is: on pods, on the node, outside (OpenShift's pods: 5353)
          443, …       the bundle's store, where any bundle comes from one: `fetch` runs in the servers' pods
          9090         sibling servers: copies of requests to the candidate
          4318, …      a collector of traces, where `runtime.env` names one
          …            `networkPolicy.egress`

It does not follow a rollout: what two versions need of each other is always open between them, so that a step writes
nothing here and waits for no network plugin.  A policy knows addresses and not names: "the store" is its port.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any
from urllib.parse import urlsplit

from tidegate.api.network import Peer
from tidegate.api.runtime import Runtime
from tidegate.api.spec import ModelDeploymentSpec
from tidegate.bundle.addresses import METADATA
from tidegate.plan.manifests.identity import (
    LABEL_COMPONENT,
    LABEL_DEPLOYMENT,
    NETWORK_POLICY,
    SERVER,
    Owner,
    head,
    metadata,
    policy_name,
)
from tidegate.plan.manifests.platform import Network
from tidegate.plan.manifests.pods import GRPC_PORT, HTTP_PORT, METRICS_PORT, said
from tidegate.plan.observed import RevisionRecord

NAME_OF_NAMESPACE = "kubernetes.io/metadata.name"  # a label that the API server itself puts on every namespace
DNS_PORT, OPENSHIFT_DNS, OPENSHIFT_DNS_PORT = 53, "openshift-dns", 5353  # rules see the pod's port, not the Service's
MOUNTED = ("pvc", "file")  # schemes of bundles that come over no network of ours
STORE_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
COLLECTOR_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# Where nodes and clouds give out credentials; part of no network that somebody names.
NEVER = tuple(ip_network(one) for one in ("169.254.0.0/16", "fe80::/10", *sorted(METADATA)))
PODS: dict[str, Any] = {"namespaceSelector": {}}

Rule = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Needs:
    """What a spec and the revisions that run have to reach: the addresses they name."""

    bundles: frozenset[str]
    stores: frozenset[str]  # endpoints that take the place of a store's usual one
    collectors: frozenset[str]


def network_policy(
    owner: Owner, spec: ModelDeploymentSpec, records: Iterable[RevisionRecord], network: Network
) -> dict[str, Any] | None:
    """None where the spec wants none. `records` are those of all servers that there are, or are to be."""
    wanted = spec.network_policy
    if not wanted.enabled:
        return None
    siblings = _labelled({LABEL_DEPLOYMENT: owner.name, LABEL_COMPONENT: SERVER})
    readers = [*map(_peer, network.metrics), siblings]
    rules = {
        "podSelector": {"matchLabels": {LABEL_DEPLOYMENT: owner.name}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            said({"from": [_peer(one) for one in wanted.clients], "ports": _tcp(HTTP_PORT, GRPC_PORT)}),
            {"from": readers, "ports": _tcp(METRICS_PORT)},
        ],
        "egress": [
            {"ports": _both(DNS_PORT)},
            {"to": [_namespace(OPENSHIFT_DNS)], "ports": _both(OPENSHIFT_DNS_PORT)},
            {"to": [siblings], "ports": _tcp(METRICS_PORT)},
            *_named(_needs(spec, records), network),
            *({"to": [_peer(one.to)], "ports": _tcp(*one.ports)} for one in wanted.egress),
        ],
    }
    return {**head(NETWORK_POLICY, metadata(owner, policy_name(owner))), "spec": rules}


def _needs(spec: ModelDeploymentSpec, records: Iterable[RevisionRecord]) -> Needs:
    """The spec's own revision counts before it runs: its Job reads the bundle first."""
    there = tuple(records)
    runtimes = [spec.runtime, *(record.runtime for record in there)]
    return Needs(
        bundles=frozenset({spec.bundle.uri, *(record.resolution.uri for record in there)}),
        stores=frozenset(_values(runtimes, STORE_VARIABLES)),
        collectors=frozenset(_values(runtimes, COLLECTOR_VARIABLES)),
    )


def _values(runtimes: Iterable[Runtime], names: tuple[str, ...]) -> Iterator[str]:
    return (variable.value for runtime in runtimes for variable in runtime.env if variable.name in names)


def _named(needs: Needs, network: Network) -> Iterator[Rule]:
    """Rules for the addresses that somebody has written."""
    fetched = [uri for uri in needs.bundles if urlsplit(uri).scheme not in MOUNTED]
    if fetched:
        ports = {*network.store_ports, *_ports(fetched), *_ports(needs.stores)}
        yield {"to": _anywhere_in(network.stores), "ports": _tcp(*sorted(ports))}
        for address, port in network.identity:
            yield {"to": [{"ipBlock": {"cidr": str(ip_network(address))}}], "ports": _tcp(port)}
    if collectors := sorted(set(_ports(needs.collectors))):
        yield {"to": _anywhere_in(("0.0.0.0/0", "::/0")), "ports": _tcp(*collectors)}


def _ports(addresses: Iterable[str]) -> Iterator[int]:
    """Ports that these addresses name; what is no address is the server's to refuse, with a sentence."""
    for address in addresses:
        try:
            parts = urlsplit(address)
            port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        except ValueError:
            continue
        if port is not None:
            yield port


def _anywhere_in(networks: Iterable[str]) -> list[Rule]:
    """Networks; one that is everything means pods, too, which some network plugins never count by address."""
    blocks = [ip_network(one) for one in networks]
    return [*map(_block, blocks), *([PODS] if any(one.prefixlen == 0 for one in blocks) else [])]


def _peer(peer: Peer) -> Rule:
    if peer.cidr is not None:
        return _block(ip_network(peer.cidr, strict=False))
    pods = _labelled(peer.pods) if peer.pods else {}
    if peer.namespace is None:
        return pods
    return {**_namespace(peer.namespace), **pods}


def _namespace(name: str) -> Rule:
    return PODS if name == "*" else {"namespaceSelector": {"matchLabels": {NAME_OF_NAMESPACE: name}}}


def _labelled(labels: dict[str, str]) -> Rule:
    return {"podSelector": {"matchLabels": dict(labels)}}


def _block(network: IPv4Network | IPv6Network) -> Rule:
    left_out = [str(one) for one in NEVER if one != network and _inside(one, network)]
    return {"ipBlock": said({"cidr": str(network), "except": left_out})}


def _inside(inner: IPv4Network | IPv6Network, outer: IPv4Network | IPv6Network) -> bool:
    return inner.version == outer.version and inner.network_address in outer and inner.prefixlen >= outer.prefixlen


def _both(port: int) -> list[Rule]:
    return [{"protocol": "UDP", "port": port}, *_tcp(port)]


def _tcp(*ports: int) -> list[Rule]:
    return [{"protocol": "TCP", "port": port} for port in ports]
