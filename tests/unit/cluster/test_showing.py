"""The operator's own page: from its cache, also what it has written itself, and nothing can be done by it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tidegate.cluster.seen import Cache
from tidegate.cluster.settings import read_settings
from tidegate.cluster.showing import Showing
from tidegate.errors import UsageError
from tidegate.plan.manifests.identity import LABEL_DEPLOYMENT, LABEL_REVISION, MODEL_DEPLOYMENT, POD

GIVEN = {"runtime_image": "x", "lease_namespace": "tidegate"}


def fraud(version: int, phase: str) -> dict[str, Any]:
    meta = {"namespace": "shop", "name": "fraud", "uid": "u", "resourceVersion": str(version)}
    return {"metadata": meta, "spec": {"bundle": {"uri": "s3://models/fraud/1"}}, "status": {"phase": phase}}


def pod(name: str, **labels: str) -> dict[str, Any]:
    meta = {
        "namespace": "shop",
        "name": name,
        "uid": name,
        "resourceVersion": "1",
        "labels": {LABEL_DEPLOYMENT: "fraud", **labels},
    }
    meta["creationTimestamp"] = "2026-11-26T05:00:00Z"
    told = {
        "phase": "Running",
        "containerStatuses": [{"name": "server", "ready": True, "restartCount": 2, "state": {}}],
    }
    return {"metadata": meta, "spec": {"containers": [{"name": "server"}], "nodeName": "n1"}, "status": told}


async def shown(port: int) -> dict[str, Any]:
    """The rollouts that a page is told first, by name."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/events") as answer:
        async for line in answer.content:
            if line.startswith(b'data: {"reset"') and (rows := json.loads(line[6:])["put"]):
                return {row["name"]: row for row in rows}
    raise AssertionError("the stream has ended")


def test_what_is_in_the_cache_is_shown_whoever_it_came_from(unused_port: int) -> None:
    settings = read_settings({**GIVEN, "dashboard_port": str(unused_port)}, {})
    pages: list[Showing] = []
    cache = Cache(lambda key: pages[0].changed(key))  # noqa: PLW0108 - which is there later
    pages.append(Showing(settings, cache, unused_port))

    async def story() -> None:
        await pages[0].start("127.0.0.1")
        cache.feed(MODEL_DEPLOYMENT, "ADDED", fraud(1, "Proving"))
        cache.put(MODEL_DEPLOYMENT, fraud(2, "Holding"))  # the answer to a write of ours, before the watch shows it
        cache.feed(POD, None, pod("fraud-a-1", **{LABEL_REVISION: "a"}))
        cache.feed(POD, None, pod("fraud-resolve-1"))
        async with asyncio.timeout(10):
            one = (await shown(unused_port))["fraud"]
        assert one["phase"] == "Holding"
        assert [(row["name"], row["ready"], row["restarts"]) for row in one["pods"]] == [("fraud-a-1", "1/1", 2)]
        async with aiohttp.ClientSession() as session:
            for method, path, status in (
                ("GET", "/", 200),
                ("GET", "/rights", 404),
                ("POST", "/act", 404),
                ("DELETE", "/", 405),
            ):
                async with session.request(method, f"http://127.0.0.1:{unused_port}{path}") as answer:
                    assert answer.status == status
        await pages[0].stop()

    asyncio.run(story())


def test_the_page_is_stale_from_the_first_request_without_an_answer_until_one_has_one() -> None:
    async def story() -> None:
        page = Showing(read_settings({**GIVEN, "dashboard_port": "0"}, {}), Cache(), 0)
        board = page._publisher.board

        def troubles() -> list[Any]:
            return list(json.loads(board.since(None).facts or b"{}").get("troubles", []))

        page.requested("watch", "200")
        page.requested("watch", "410")
        page.requested("update", "none")
        assert troubles() == []
        page.requested("watch", "none")
        [before] = troubles()
        page.requested("list", "503")
        assert troubles() == [before], "since when does not move"
        assert (before["what"], before["passes"]) == ("the API server does not answer", True)
        page.requested("list", "200")
        assert troubles() == []

    asyncio.run(story())


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_the_page_is_served_only_where_a_port_is_given() -> None:
    assert read_settings(GIVEN, {}).dashboard_port is None
    assert read_settings({**GIVEN, "dashboard_port": "8082"}, {}).dashboard_port == 8082


def test_names_of_the_page_are_host_names() -> None:
    assert read_settings({**GIVEN, "dashboard_hosts": "Models.example.com, a"}, {}).dashboard_hosts == (
        "models.example.com",
        "a",
    )
    with pytest.raises(UsageError, match="--dashboard-hosts: 'https://x' is not a host name"):
        read_settings({**GIVEN, "dashboard_hosts": "https://x"}, {})
