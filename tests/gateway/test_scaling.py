"""A canary whose load rises and falls, with an autoscaler that follows it: servers are there first, and nobody notices."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from tests.gateway.canary import CLIENTS
from tests.gateway.own_network import told

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
        "25 %": {"stable": 2, "candidate": 1},
        "25 %, busy": {"stable": 3, "candidate": 1},
        "50 %, busy": {"stable": 3, "candidate": 2},
        "50 %, calm": {"stable": 2, "candidate": 1},
        "50 %, busy again": {"stable": 3, "candidate": 2},
        "promoted, busy": {"stable": 3},
        "afterwards, calm": {"stable": 1},
    }


def test_no_write_of_the_rollout_goes_below_its_pins_and_floors(scaling: dict[str, Any]) -> None:
    assert scaling["moments"] > 0
    assert scaling["broken"] == []


@pytest.mark.parametrize("protocol", CLIENTS)
def test_no_client_sees_an_error_while_servers_come_and_go(scaling: dict[str, Any], protocol: str) -> None:
    steady = scaling["steady"][protocol]

    assert steady["failures"] == 0, steady["first"]
    assert set(steady["versions"]) == {"v1", "v2"}
