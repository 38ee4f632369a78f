"""Contour and its Envoy before real servers: weights are exact, and no client notices a step, a promotion or an abort."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.gateway import own_network
from tests.gateway.shares import interval
from tests.gateway.story import LOOKED_FOR, PINNED, STEPS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="networks of one's own are Linux's"),
]
REQUESTS = 2000
PROTOCOLS = ("http/1.1", "grpc")


def story(folder: Path, *arguments: str) -> dict[str, Any]:
    """What the clients of a story were told."""
    told = subprocess.run(
        own_network.command("tests.gateway.story", "--requests", str(REQUESTS), *arguments),
        env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-8000:]
    return dict(json.loads(told.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def real_gateway(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return story(tmp_path_factory.mktemp("gateway"))


@pytest.fixture(scope="module")
def route_in_git(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return story(tmp_path_factory.mktemp("gateway"), "--shared")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_step_gives_the_candidate_its_weight(real_gateway: dict[str, Any], protocol: str) -> None:
    for step in real_gateway["steps"]:
        counted = step[protocol]
        low, high = interval(step["weight"], REQUESTS)
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


def test_an_abort_is_in_the_data_plane_within_seconds(real_gateway: dict[str, Any]) -> None:
    assert [abort["candidate"] for abort in real_gateway["aborts"]] == ["v1"]
    assert real_gateway["aborts"][0]["seconds"] < LOOKED_FOR / 2


def test_a_route_that_lives_in_git_is_as_exact_and_as_quiet(route_in_git: dict[str, Any]) -> None:
    test_each_step_gives_the_candidate_its_weight(route_in_git, "http/1.1")
    test_the_header_leads_every_request_to_the_candidate(route_in_git)
    test_clients_that_keep_their_connections_see_no_error(route_in_git, "http/1.1")
    test_an_abort_is_in_the_data_plane_within_seconds(route_in_git)
