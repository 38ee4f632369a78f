"""What a canary through a gateway costs the API server, and what becomes of one whose gateway heeds no weight."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from tests.gateway import own_network
from tests.gateway.two_gateways import ASKED, MOST_WRITES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="networks of one's own are Linux's"),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return own_network.told("tests.gateway.two_gateways", tmp_path_factory.mktemp("gateways"), seconds=580)


@pytest.fixture
def writes(told: dict[str, Any]) -> dict[str, int]:
    return dict(told["counted"]["writes"])


@pytest.fixture
def unheeded(told: dict[str, Any]) -> dict[str, Any]:
    return dict(told["unheeded"])


def test_a_canary_of_five_weights_costs_at_most_36_writes_with_its_events(writes: dict[str, int]) -> None:
    assert sum(writes.values()) <= MOST_WRITES, writes


def test_where_a_gateway_splits_a_rollout_writes_the_front_once(writes: dict[str, int]) -> None:
    assert writes["patch services"] == 1


def test_no_client_of_the_gateway_that_heeds_weights_sees_an_error(told: dict[str, Any]) -> None:
    steady = told["counted"]["steady"]

    assert steady["failures"] == 0, steady["first"]
    assert set(steady["versions"]) >= {"v1", "v2"}


def test_a_weight_that_the_gateway_ignores_is_told_and_holds_the_rollout(unheeded: dict[str, Any]) -> None:
    for name, percent in (("held", 10), ("again", 25)):
        for condition, status in (("RouteReady", "False"), ("Reconciling", "True"), ("Promoted", "False")):
            assert unheeded[name][condition][:2] == [status, "WeightIgnored"]
            assert f"the requests do not follow {percent} %, " in unheeded[name][condition][2]
        assert unheeded[name]["Ready"][:2] == ["True", "Serving"]
        assert unheeded[name]["weight"] == percent


def test_a_gateway_that_heeds_the_weight_after_all_lets_the_rollout_go_on(unheeded: dict[str, Any]) -> None:
    assert unheeded["heeded"]["RouteReady"][:2] == ["True", "Accepted"]
    assert unheeded["heeded"]["Reconciling"][1] == "WaitingForPromote"


def test_a_weight_that_is_ignored_for_too_long_sends_the_candidate_back(unheeded: dict[str, Any]) -> None:
    assert unheeded["back"]["Stalled"][:2] == ["True", "WeightIgnored"]
    assert [(one["class"], one["reason"]) for one in unheeded["back"]["rejected"]] == [("Environment", "WeightIgnored")]
    assert unheeded["back"]["RouteReady"][:2] == ["True", "Accepted"]
    assert unheeded["left"]["versions"] == {"v1": ASKED}, unheeded["left"]
