"""The evaluator of NetworkPolicies, held to the examples and the sentences of their specification."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.network_policy import EGRESS, INGRESS, Host, Network, Place, Pod, directions, selects

NAMESPACES = {
    "default": {"kubernetes.io/metadata.name": "default"},
    "theirs": {"kubernetes.io/metadata.name": "theirs", "project": "myproject", "user": "alice"},
}
DB = Pod("10.1.0.1", "default", {"role": "db"}, node="10.0.9.1", ports={"sql": ("TCP", 6379)})
FRONT = Pod("10.1.0.2", "default", {"role": "frontend"})
OTHER = Pod("10.1.0.3", "default", {"role": "other"})
THEIRS = Pod("10.1.1.1", "theirs", {"role": "client"})
THEIR_DB = Pod("10.1.1.2", "theirs", {"role": "db"})
PODS = (DB, FRONT, OTHER, THEIRS, THEIR_DB)


def policy(spec: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": "one"}, "spec": {"podSelector": {}, **spec}}


def network(*policies: dict[str, Any], blocks_hold_pods: bool = True) -> Network:
    return Network(NAMESPACES, policies, blocks_hold_pods)


# -- the examples of kubernetes.io/docs/concepts/services-networking/network-policies

EXAMPLE = policy(
    {
        "podSelector": {"matchLabels": {"role": "db"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {
                "from": [
                    {"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}},
                    {"namespaceSelector": {"matchLabels": {"project": "myproject"}}},
                    {"podSelector": {"matchLabels": {"role": "frontend"}}},
                ],
                "ports": [{"protocol": "TCP", "port": 6379}],
            }
        ],
        "egress": [
            {"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}], "ports": [{"protocol": "TCP", "port": 5978}]},
        ],
    }
)


@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [
        (FRONT, DB, 6379, True),
        (FRONT, DB, 6380, False),
        (OTHER, DB, 6379, False),
        (THEIRS, DB, 6379, True),
        (Host("172.17.0.255"), DB, 6379, True),
        (Host("172.17.1.0"), DB, 6379, False),
        (Host("172.17.2.0"), DB, 6379, True),
        (Host("172.18.0.1"), DB, 6379, False),
        (DB, Host("10.0.0.7"), 5978, True),
        (DB, Host("10.0.0.7"), 5979, False),
        (DB, Host("10.0.1.7"), 5978, False),
        (DB, FRONT, 5978, False),
        (OTHER, FRONT, 1, True),  # nobody selects them
        (THEIRS, THEIR_DB, 1, True),  # a policy is about the pods of its namespace
    ],
)
def test_the_example_with_three_peers(source: Place, target: Place, port: int, *, allowed: bool) -> None:
    assert network(EXAMPLE).allows(source, target, port) is allowed


def test_the_example_says_nothing_of_udp() -> None:
    assert not network(EXAMPLE).allows(FRONT, DB, 6379, "UDP")


@pytest.mark.parametrize(
    ("spec", "comes_in", "goes_out"),
    [
        ({"policyTypes": ["Ingress"]}, False, True),  # default deny all ingress
        ({"policyTypes": ["Ingress"], "ingress": [{}]}, True, True),  # allow all ingress
        ({"policyTypes": ["Egress"]}, True, False),  # default deny all egress
        ({"policyTypes": ["Egress"], "egress": [{}]}, True, True),  # allow all egress
        ({"policyTypes": ["Ingress", "Egress"]}, False, False),  # default deny all
        ({}, False, True),  # without types: ingress
        ({"ingress": [{}]}, True, True),
        ({"egress": [{"ports": [{"port": 1}]}]}, False, False),  # and egress where there are rules for it
        ({"egress": []}, False, True),
    ],
)
def test_the_default_policies(spec: dict[str, Any], *, comes_in: bool, goes_out: bool) -> None:
    net = network(policy(spec))

    assert net.allows(THEIRS, DB, 6379) is comes_in
    assert net.allows(DB, THEIRS, 6379) is goes_out


def test_two_selectors_in_one_peer_must_both_hold_and_two_peers_either() -> None:
    alice = {"namespaceSelector": {"matchLabels": {"user": "alice"}}}
    client = {"podSelector": {"matchLabels": {"role": "client"}}}
    both = network(policy({"ingress": [{"from": [{**alice, **client}]}]}))
    either = network(policy({"ingress": [{"from": [alice, client]}]}))

    assert [both.allows(one, DB, 1) for one in (THEIRS, THEIR_DB, FRONT)] == [True, False, False]
    assert [either.allows(one, DB, 1) for one in (THEIRS, THEIR_DB, FRONT)] == [True, True, False]


@pytest.mark.parametrize(
    ("port", "allowed"), [(31999, False), (32000, True), (32500, True), (32768, True), (32769, False)]
)
def test_a_range_of_ports_has_both_its_ends(port: int, *, allowed: bool) -> None:
    to = [{"ipBlock": {"cidr": "10.0.0.0/24"}}]
    ranged = policy({"egress": [{"to": to, "ports": [{"protocol": "TCP", "port": 32000, "endPort": 32768}]}]})

    assert network(ranged).allows(DB, Host("10.0.0.9"), port) is allowed


def test_a_namespace_is_named_by_the_label_that_the_server_gives_it() -> None:
    named = {"namespaceSelector": {"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["theirs"]}]}}  # fmt: skip
    net = network(policy({"ingress": [{"from": [named]}]}))

    assert net.allows(THEIRS, DB, 1)
    assert not net.allows(FRONT, DB, 1)


def test_a_named_port_is_the_targets_own() -> None:
    net = network(
        policy({"ingress": [{"ports": [{"port": "sql"}]}]}),
        policy({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": "sql"}]}]}, "theirs"),
    )

    assert net.allows(THEIRS, DB, 6379)
    assert not net.allows(THEIRS, DB, 6380)
    assert not net.allows(THEIRS, FRONT, 6379)  # it has no port of that name
    assert not net.allows(THEIRS, Host("10.9.9.9"), 6379)


def test_ports_without_a_number_are_all_of_their_protocol() -> None:
    net = network(policy({"ingress": [{"ports": [{"protocol": "UDP"}]}]}))

    assert net.allows(THEIRS, DB, 1, "UDP")
    assert not net.allows(THEIRS, DB, 1)


def test_a_connection_needs_the_leave_of_both_ends() -> None:
    shut = policy({"policyTypes": ["Egress"]}, "theirs")

    assert network().allows(THEIRS, DB, 1)
    assert not network(shut).allows(THEIRS, DB, 1)
    assert network(shut).allows(DB, THEIRS, 1)


def test_a_node_reaches_its_pods_and_a_pod_itself_whatever_policies_say() -> None:
    shut = network(policy({"policyTypes": ["Ingress", "Egress"]}))

    assert shut.allows(Host("10.0.9.1"), DB, 1)
    assert not shut.allows(Host("10.0.9.2"), DB, 1)
    assert shut.allows(DB, DB, 1)


def test_whether_a_block_holds_pods_is_the_network_plugins_to_say() -> None:
    everywhere = policy({"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]})

    for blocks_hold_pods in (True, False):
        net = network(everywhere, blocks_hold_pods=blocks_hold_pods)
        assert net.allows(DB, THEIRS, 1) is blocks_hold_pods
        assert net.allows(DB, Host("10.9.9.9"), 1)


@pytest.mark.parametrize(
    ("condition", "chosen"),
    [
        ({"operator": "In", "values": ["a", "b"]}, ["a"]),
        ({"operator": "NotIn", "values": ["a", "b"]}, ["c", None]),
        ({"operator": "Exists"}, ["a", "c"]),
        ({"operator": "DoesNotExist"}, [None]),
    ],
)
def test_the_operators_of_a_selector(condition: dict[str, Any], chosen: list[str | None]) -> None:
    selector = {"matchExpressions": [{"key": "x", **condition}]}

    assert [one for one in ("a", "c", None) if selects(selector, {"x": one} if one else {})] == chosen


# -- what holds for all policies

LABELS = st.dictionaries(st.just("role"), st.sampled_from(["db", "frontend", "client"]), max_size=1)
SELECTORS = st.builds(lambda labels: {"matchLabels": labels}, LABELS)
BLOCKS = st.sampled_from(
    [{"cidr": "0.0.0.0/0"}, {"cidr": "10.1.0.0/16", "except": ["10.1.1.0/24"]}, {"cidr": "10.1.0.2/32"}]
)
PEERS = st.one_of(
    st.builds(lambda pods: {"podSelector": pods}, SELECTORS),
    st.builds(lambda pods: {"podSelector": pods, "namespaceSelector": {}}, SELECTORS),
    st.builds(lambda block: {"ipBlock": block}, BLOCKS),
)
PORTS = st.sampled_from([{"port": 1}, {"port": 2, "endPort": 3}, {"port": "sql"}, {"protocol": "UDP", "port": 1}])


def rules(peers: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {}, optional={peers: st.lists(PEERS, max_size=2), "ports": st.lists(PORTS, max_size=2)}
    )


SPECS = st.fixed_dictionaries(
    {"podSelector": SELECTORS},
    optional={
        "policyTypes": st.sampled_from([[INGRESS], [EGRESS], [INGRESS, EGRESS]]),
        "ingress": st.lists(rules("from"), max_size=2),
        "egress": st.lists(rules("to"), max_size=2),
    },
)
POLICIES = st.builds(policy, SPECS, st.sampled_from(sorted(NAMESPACES)))
PLACES = st.sampled_from([*PODS, Host("10.0.0.7"), Host("10.0.9.1")])
CONNECTIONS = st.tuples(PLACES, PLACES, st.sampled_from([1, 2, 3, 6379]), st.sampled_from(["TCP", "UDP"]))


@given(CONNECTIONS)
def test_without_policies_everything_is_allowed(connection: Any) -> None:
    assert network().allows(*connection)


@given(st.lists(POLICIES, max_size=4), CONNECTIONS, st.randoms())
def test_the_order_of_policies_means_nothing(policies: list[Any], connection: Any, random: Any) -> None:
    mixed = random.sample(policies, len(policies))

    assert network(*policies).allows(*connection) is network(*mixed).allows(*connection)


@given(st.lists(POLICIES, max_size=3), POLICIES, CONNECTIONS)
def test_where_a_pod_is_closed_already_another_policy_only_opens(
    policies: list[Any], more: Any, connection: Any
) -> None:
    closed = [policy({"policyTypes": ["Ingress", "Egress"]}, name) for name in NAMESPACES]
    before, after = network(*closed, *policies), network(*closed, *policies, more)

    assert after.allows(*connection) or not before.allows(*connection)


@given(st.lists(POLICIES, max_size=3), st.sampled_from([INGRESS, EGRESS]), CONNECTIONS, st.data())
def test_another_rule_of_a_policy_refuses_nobody(
    policies: list[Any], direction: str, connection: Any, data: st.DataObject
) -> None:
    one = data.draw(POLICIES)
    field, peers = {INGRESS: ("ingress", "from"), EGRESS: ("egress", "to")}[direction]
    longer = {**one, "spec": {**one["spec"], "policyTypes": sorted(directions(one))}}
    longer["spec"][field] = [*(one["spec"].get(field) or ()), data.draw(rules(peers))]
    before, after = network(*policies, one), network(*policies, longer)

    assert after.allows(*connection) or not before.allows(*connection)


@given(POLICIES, CONNECTIONS)
def test_a_policy_is_no_matter_of_pods_that_it_does_not_select(one: Any, connection: Any) -> None:
    source, target, *_ = connection
    ends = [end for end in (source, target) if isinstance(end, Pod)]
    chosen = [end for end in ends if end.namespace == one["metadata"]["namespace"]
              and selects(one["spec"]["podSelector"], end.labels)]  # fmt: skip

    assert chosen or network(one).allows(*connection)


@given(BLOCKS, PLACES)
def test_what_a_block_leaves_out_is_not_in_it(block: dict[str, Any], place: Place) -> None:
    whole = {"cidr": block["cidr"]}
    allowed, without = (
        network(policy({"ingress": [{"from": [{"ipBlock": one}]}]})).allows(place, OTHER, 1) for one in (whole, block)
    )

    assert allowed or not without
