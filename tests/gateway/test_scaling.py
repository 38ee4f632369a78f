"""A canary whose load rises and falls, with an autoscaler that follows it: servers are there first, and nobody notices."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from tests.cluster.operating import GROUP
from tests.control_plane.resources import Object
from tests.gateway.canary import CLIENTS
from tests.gateway.history import SERVICE, History
from tests.gateway.own_network import told
from tests.gateway.scaling import broken

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="networks of one's own are Linux's"),
]


@pytest.fixture(scope="module")
def scaling(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return told("tests.gateway.scaling", tmp_path_factory.mktemp("scaling"), seconds=580)


def test_servers_of_both_versions_follow_the_whole_load_at_each_weight(scaling: dict[str, Any]) -> None:
    assert scaling["scenes"] == {
        "usual": {"stable": 2},
        "50 %": {"stable": 2, "candidate": 1},
        "50 %, busy": {"stable": 3, "candidate": 2},
        "75 %, busy": {"stable": 3, "candidate": 3},
        "75 %, calm": {"stable": 2, "candidate": 2},
        "afterwards": {"stable": 1},
    }


def test_no_write_of_the_rollout_goes_below_its_pins_and_floors(scaling: dict[str, Any]) -> None:
    assert scaling["moments"] > 0
    assert scaling["broken"] == []


@pytest.mark.parametrize("protocol", CLIENTS)
def test_no_client_sees_an_error_while_servers_come_and_go(scaling: dict[str, Any], protocol: str) -> None:
    steady = scaling["steady"][protocol]

    assert steady["failures"] == 0, steady["first"]
    assert set(steady["versions"]) == {"v1", "v2"}


def written(version: int, plural: str, name: str, revision: str = "", **fields: Any) -> tuple[str, Object]:
    labels = {f"{GROUP}/revision": revision, SERVICE: name}
    about = {"name": name, "resourceVersion": str(version), "labels": labels}
    return plural, {"type": "MODIFIED", "object": {"metadata": about, **fields}}


def endpoints(version: int, revision: str, ready: int) -> tuple[str, Object]:
    rows = [{"conditions": {"ready": True}}] * ready
    return written(version, "endpointslices", f"fraud-{revision}", endpoints=rows)


def test_a_floor_that_is_left_and_a_weight_without_servers_are_seen_in_the_order_of_writes() -> None:
    """Of watches that come in any order."""
    versions = {"stable": {"revision": "a"}, "candidate": {"revision": "b"}}
    status = {**versions, "rollout": {"phase": "Shifting", "live": 2}}
    weights = [{"name": "fraud-a", "weight": 50}, {"name": "fraud-b", "weight": 50}]
    pods = [written(at, "deployments", f"fraud-{one}", one, spec={"replicas": 2}) for at, one in ((1, "a"), (2, "b"))]
    bounds = {"minReplicas": 1, "maxReplicas": 3}
    history = History()
    for plural, event in (
        written(7, "horizontalpodautoscalers", "fraud-a", "a", spec=bounds),
        written(5, "modeldeployments", "fraud", status=status),
        written(6, "httproutes", "fraud", spec={"rules": [{"backendRefs": weights}]}),
        endpoints(8, "b", 1),
        endpoints(3, "a", 2),
        *pods,
    ):
        history.add(plural, event)

    found = broken(list(history.moments()))

    assert [one["rule"] for one in found] == [
        "no weight without servers",  # at the route's write; those that came later do not count
        "the autoscaler's floor is the live count",
        "the autoscaler's floor is the live count",  # it still is not
    ]
