"""When a live object counts as different, and when only the server's spelling is."""

from __future__ import annotations

import pytest

from tidegate.plan.manifests.drift import differs, mendable
from tidegate.plan.manifests.front import revision_service
from tidegate.plan.manifests.quantities import amount, lesser, same
from tidegate.plan.manifests.workload import budget

from .parts import OLD, OWNER


@pytest.mark.parametrize(
    ("wanted", "live"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),  # a default, or somebody else's
        ({"a": None}, {}),
        ({"a": None}, {"a": 5}),
        ({"a": {}}, {}),
        ({"a": {}}, {"a": None}),
        ({"a": []}, {}),
        ({"value": ""}, {}),
        ({"limits": {"cpu": "1000m"}}, {"limits": {"cpu": "1"}}),
        ({"requests": {"memory": "1.5Gi"}}, {"requests": {"memory": "1536Mi"}}),
        ({"sizeLimit": "1024Mi"}, {"sizeLimit": "1Gi"}),
        ({"limits": {"nvidia.com/gpu": "2"}}, {"limits": {"nvidia.com/gpu": 2, "cpu": "1"}}),
        ({"containers": [{"name": "a", "x": 1}]}, {"containers": [{"name": "b"}, {"name": "a", "x": 1, "y": 2}]}),
        ({"env": [{"name": "TZ", "value": ""}]}, {"env": [{"name": "OTHER"}, {"name": "TZ"}]}),
        ({"ports": [{"containerPort": 8080}]}, {"ports": [{"containerPort": 8080, "protocol": "TCP"}]}),
        ({"selector": {"a": "b"}}, {"selector": {"a": "b"}}),
        ({"selector": {"matchLabels": {"a": "b"}}}, {"selector": {"matchLabels": {"a": "b"}, "matchExpressions": []}}),
        ({"args": ["a", "b"]}, {"args": ["a", "b"]}),
        ({"egress": [{"ports": [{"port": 1}]}]}, {"egress": [{"ports": [{"port": 1}]}]}),
    ],
)
def test_the_same_in_other_words_is_no_difference(wanted: object, live: object) -> None:
    assert not differs(wanted, live)


@pytest.mark.parametrize(
    ("wanted", "live"),
    [
        ({"a": 1}, {}),
        ({"a": 1}, {"a": 2}),
        ({"a": False}, {}),  # absent may mean true
        ({"a": ""}, {"a": "x"}),
        ({"a": {"b": 1}}, {"a": 5}),
        ({"a": [1]}, {"a": {}}),
        ({"a": [1]}, {}),
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}}),
        ({"limits": {"cpu": "1"}}, {"limits": {}}),
        ({"sizeLimit": "1Gi"}, {}),
        ({"containers": [{"name": "a", "image": "x"}]}, {"containers": [{"name": "a", "image": "y"}]}),
        ({"containers": [{"name": "a"}]}, {"containers": [{"name": "b"}]}),
        ({"volumeMounts": [{"mountPath": "/a", "readOnly": True}]}, {"volumeMounts": [{"mountPath": "/a"}]}),
        ({"selector": {"a": "b"}}, {"selector": {"a": "b", "c": "d"}}),  # an apply replaces a selector whole
        ({"selector": {"matchLabels": {"a": "b"}}}, {"selector": {"matchLabels": {"a": "b", "c": "d"}}}),
        ({"nodeSelector": {"a": "b"}}, {"nodeSelector": {"a": "b", "c": "d"}}),
        ({"args": ["a", "b"]}, {"args": ["a"]}),
        ({"args": ["a", "b"]}, {"args": ["b", "a"]}),
        ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "a"}, {"key": "b"}]}),
        ({"podSelector": {"matchLabels": {"a": "b"}}}, {"podSelector": {"matchLabels": {"a": "b"}, "x": [1]}}),
        ({"egress": [{"ports": [{"port": 1}]}]}, {"egress": [{"ports": [{"port": 1}, {"port": 2}]}]}),
        ({"egress": [{"ports": [{"port": 1}]}]}, {"egress": [{"ports": [{"port": 1, "endPort": 2}]}]}),
        ({"egress": [{"to": [{"podSelector": {}}]}]}, {"egress": [{"to": [{}]}]}),
        ({"ingress": [{"ports": []}]}, {"ingress": [{"ports": [], "from": [1]}]}),
        ({"ingress": []}, {}),
    ],
)
def test_what_is_missing_or_otherwise_is_a_difference(wanted: object, live: object) -> None:
    assert differs(wanted, live)


def test_values_of_variables_are_compared_as_they_are_written() -> None:
    assert differs({"env": [{"name": "A", "value": "1000m"}]}, {"env": [{"name": "A", "value": "1"}]})


def test_a_second_port_of_the_same_name_cannot_be_applied_away() -> None:
    wanted = revision_service(OWNER, OLD)

    assert mendable(wanted, {"spec": {"ports": [{"name": "http", "port": 8080}, {"name": "mine", "port": 81}]}})
    assert not mendable(wanted, {"spec": {"ports": [{"name": "http", "port": 81}]}})


def test_a_budget_with_the_other_bound_cannot_be_applied_away() -> None:
    wanted = budget(OWNER, OLD)

    assert mendable(wanted, {"spec": {"maxUnavailable": 3}})
    assert not mendable(wanted, {"spec": {"minAvailable": 1}})


def test_other_objects_can_always_be_mended() -> None:
    assert mendable({"kind": "ConfigMap", "data": {}}, {"kind": "ConfigMap"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("500m", 0.5), ("1.5Gi", 1.5 * 2**30), ("2k", 2000), ("3M", 3e6), ("1Ei", 2**60), ("1E", 10**18),
        ("1e3", 1000), ("2E2", 200), ("100n", 1e-7), ("5u", 5e-6), (7, 7), ("+.5", 0.5), ("-1", -1),
    ],
)  # fmt: skip
def test_quantities_are_read_as_kubernetes_does(text: object, value: float) -> None:
    assert float(amount(text) or 0) == pytest.approx(value)


def test_what_is_no_quantity_is_compared_as_text() -> None:
    assert amount("much") is None
    assert same("much", "much")
    assert not same("much", "1")
    assert lesser("much", "1") == "much"
    assert lesser("1", "much") == "1"


def test_the_lesser_of_two_quantities_keeps_its_spelling() -> None:
    assert lesser("2", "500m") == "500m"
    assert lesser("1024Mi", "1Gi") == "1024Mi"
