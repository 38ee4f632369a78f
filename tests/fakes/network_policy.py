"""Whether NetworkPolicies let a connection be made, by the rules of the `networking.k8s.io/v1` API and nothing else.

A connection is made when the source's policies let it out *and* the target's let it in.  A pod that no policy selects
for a direction is open in it; one that some policy selects is open to what any rule of any such policy says.  Answers
on a connection need no rule.  What the API leaves to network plugins is a parameter or answered as it documents it:

- whether an `ipBlock` counts pods by their addresses (Calico does, Cilium does not): `blocks_hold_pods`;
- pods in the network of their node are seen as that node's address, and no policy selects them;
- nobody is kept from a pod on its own node, nor a pod from itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Policy = Mapping[str, Any]
Labels = Mapping[str, str]
INGRESS, EGRESS = "Ingress", "Egress"
PEERS = {INGRESS: ("ingress", "from"), EGRESS: ("egress", "to")}


@dataclass(frozen=True, slots=True)
class Host:
    """An address that is no pod: a node, or outside of the cluster."""

    ip: str


@dataclass(frozen=True, slots=True)
class Pod:
    """`ports` are the containers' named ones: (protocol, number) by name."""

    ip: str
    namespace: str
    labels: Labels = field(default_factory=dict)
    node: str = ""  # the address of its node
    ports: Mapping[str, tuple[str, int]] = field(default_factory=dict)


Place = Host | Pod


@dataclass(frozen=True, slots=True)
class Network:
    """The policies of a cluster and the labels of its namespaces."""

    namespaces: Mapping[str, Labels]
    policies: tuple[Policy, ...] = ()
    blocks_hold_pods: bool = True

    def allows(self, source: Place, target: Place, port: int, protocol: str = "TCP") -> bool:
        """Whether `source` can open a connection to this port of `target`."""
        if source == target or _on_its_node(source, target):
            return True
        to = _Port(target, port, protocol)
        return self._open(source, EGRESS, target, to) and self._open(target, INGRESS, source, to)

    def _open(self, place: Place, direction: str, other: Place, port: _Port) -> bool:
        selecting = [policy for policy in self.policies if _selects(policy, place, direction)]
        return not selecting or any(self._says(policy, direction, other, port) for policy in selecting)

    def _says(self, policy: Policy, direction: str, other: Place, port: _Port) -> bool:
        rules, peers = PEERS[direction]
        return any(
            port.is_one_of(rule.get("ports") or ()) and self._is_one_of(other, rule.get(peers) or (), policy)
            for rule in policy["spec"].get(rules) or ()
        )

    def _is_one_of(self, place: Place, peers: Iterable[Mapping[str, Any]], policy: Policy) -> bool:
        """Without peers a rule means everybody."""
        peers = list(peers)
        return not peers or any(self._is(place, peer, policy) for peer in peers)

    def _is(self, place: Place, peer: Mapping[str, Any], policy: Policy) -> bool:
        if "ipBlock" in peer:
            assert len(peer) == 1, "the API takes no selector beside an ipBlock"
            return (isinstance(place, Host) or self.blocks_hold_pods) and _in_block(place.ip, peer["ipBlock"])
        if not isinstance(place, Pod):
            return False
        if "namespaceSelector" in peer:
            there = selects(peer["namespaceSelector"], self.namespaces[place.namespace])
        else:
            there = place.namespace == policy["metadata"]["namespace"]
        return there and selects(peer.get("podSelector") or {}, place.labels)


@dataclass(frozen=True, slots=True)
class _Port:
    """Where a connection goes."""

    target: Place
    number: int
    protocol: str

    def is_one_of(self, ports: Iterable[Mapping[str, Any]]) -> bool:
        """Without ports a rule means all of them, of every protocol."""
        ports = list(ports)
        return not ports or any(self._is(port) for port in ports)

    def _is(self, port: Mapping[str, Any]) -> bool:
        if self.protocol != port.get("protocol", "TCP"):
            return False
        wanted = port.get("port")
        if wanted is None:
            return True
        if isinstance(wanted, str):
            named = self.target.ports.get(wanted) if isinstance(self.target, Pod) else None
            return named == (self.protocol, self.number)
        return bool(wanted <= self.number <= port.get("endPort", wanted))


def selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    """A label selector; an empty one selects everything."""
    wanted = (selector.get("matchLabels") or {}).items()
    conditions = selector.get("matchExpressions") or ()
    return all(labels.get(key) == value for key, value in wanted) and all(_holds(one, labels) for one in conditions)


def _holds(condition: Mapping[str, Any], labels: Labels) -> bool:
    key, values = condition["key"], condition.get("values") or ()
    match condition["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise AssertionError(f"no operator of a label selector: {condition['operator']}")


def directions(policy: Policy) -> set[str]:
    """What a policy is about: where it does not say, ingress, and egress where it has rules for that."""
    said = policy["spec"].get("policyTypes")
    return set(said) if said else {INGRESS, *([EGRESS] if policy["spec"].get("egress") else [])}


def _selects(policy: Policy, place: Place, direction: str) -> bool:
    return (
        isinstance(place, Pod)
        and direction in directions(policy)
        and policy["metadata"]["namespace"] == place.namespace
        and selects(policy["spec"]["podSelector"], place.labels)
    )


def _in_block(ip: str, block: Mapping[str, Any]) -> bool:
    address = ip_address(ip)
    return address in ip_network(block["cidr"]) and not any(
        address in ip_network(one) for one in block.get("except") or ()
    )


def _on_its_node(source: Place, target: Place) -> bool:
    return isinstance(source, Host) and isinstance(target, Pod) and bool(target.node) and source.ip == target.node
