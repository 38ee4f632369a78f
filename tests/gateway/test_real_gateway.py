"""Contour and its Envoy before real servers: weights are exact, and no client notices a step, a promotion or an abort."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from tests.gateway.own_network import told
from tests.gateway.shares import interval
from tests.gateway.story import PINNED, STEPS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="networks of one's own are Linux's"),
]
REQUESTS = 2000
PROTOCOLS = ("http/1.1", "http/2", "grpc")
IN_EFFECT_SECONDS = 10
CERTAINTY = 0.999999  # ten counts in each run: with 0.999 one run in a hundred would fail by chance


@pytest.fixture(scope="module")
def real_gateway(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return told("tests.gateway.story", tmp_path_factory.mktemp("gateway"), "--requests", str(REQUESTS))


@pytest.fixture(scope="module")
def route_in_git(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return told("tests.gateway.story", tmp_path_factory.mktemp("gateway"), "--requests", str(REQUESTS), "--shared")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_step_gives_the_candidate_its_weight(real_gateway: dict[str, Any], protocol: str) -> None:
    for step in real_gateway["steps"]:
        counted = step[protocol]
        low, high = interval(step["weight"], REQUESTS, CERTAINTY)
        assert counted["failures"] == 0, counted["first"]
        assert sum(counted["versions"].values()) == REQUESTS
        assert low <= counted["versions"][step["candidate"]] <= high, (step["weight"], counted)
    assert [step["weight"] for step in real_gateway["steps"]] == list(STEPS)


def test_the_header_leads_every_request_to_the_candidate(real_gateway: dict[str, Any]) -> None:
    for step in real_gateway["steps"]:
        assert step["pinned"]["versions"] == {step["candidate"]: PINNED}, step["pinned"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_clients_that_keep_their_connections_see_no_error(real_gateway: dict[str, Any], protocol: str) -> None:
    steady = real_gateway["steady"][protocol]

    assert steady["failures"] == 0, steady["first"]
    assert set(steady["versions"]) == {"v1", "v2"}
    assert sum(steady["versions"].values()) > 500


def test_a_verdict_is_in_the_data_plane_within_seconds(real_gateway: dict[str, Any]) -> None:
    verdicts = [(one["candidate"], one["seconds"]) for one in real_gateway["promotions"] + real_gateway["aborts"]]

    assert [candidate for candidate, _ in verdicts] == ["v2", "v1"]
    assert all(0 < seconds < IN_EFFECT_SECONDS for _, seconds in verdicts), verdicts


def test_a_route_that_lives_in_git_is_as_exact_and_as_quiet(route_in_git: dict[str, Any]) -> None:
    for protocol in ("http/1.1", "http/2"):
        test_each_step_gives_the_candidate_its_weight(route_in_git, protocol)
        test_clients_that_keep_their_connections_see_no_error(route_in_git, protocol)
    test_the_header_leads_every_request_to_the_candidate(route_in_git)
    test_a_verdict_is_in_the_data_plane_within_seconds(route_in_git)
