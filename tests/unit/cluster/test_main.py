"""The operator's process against a server that answers nothing but the lease."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from tests.unit.cluster.wire import login_to, serving

from tidegate.cluster.main import Operator
from tidegate.cluster.settings import read_settings
from tidegate.plan.manifests.identity import MODEL_DEPLOYMENT

T = TypeVar("T")
LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
DEPLOYMENTS = "/apis/serving.tidegate.io/v1alpha1/modeldeployments"
SOON = 3.0


class OnlyTheLease:
    """A server that gives the lease to whoever asks and leaves every other question open."""

    def __init__(self) -> None:
        self.spec: dict[str, Any] | None = None
        self.hung: list[str] = []
        self.looks = 0
        self.deployments: list[dict[str, Any]] | None = None

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == DEPLOYMENTS and self.deployments is not None:
            return web.json_response({"metadata": {"resourceVersion": "9"}, "items": self.deployments})
        if not request.path.startswith(LEASE):
            self.hung.append(request.path)
            await asyncio.sleep(600)
        if request.method in {"POST", "PUT"}:
            self.spec = (await request.json())["spec"]
        self.looks += 1
        if self.spec is None:
            return web.json_response({"kind": "Status", "code": 404}, status=404)
        return web.json_response({"metadata": {"resourceVersion": "1"}, "spec": self.spec})


def told(folder: Path, story: Callable[[Operator, OnlyTheLease, asyncio.Task[int]], Awaitable[T]]) -> T:
    """What a story tells of an operator that runs."""
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "system:serviceaccount:a:b"}).encode()).decode().rstrip("=")
    (folder / "token").write_text(f"head.{claims}.signature")
    given = {"runtime_image": "x", "probe_host": "127.0.0.1", "probe_port": "0", "token_file": str(folder / "token")}

    async def main() -> T:
        server = OnlyTheLease()
        async with serving((200, {})) as wire:
            wire.handle = server.answer
            operator = Operator(read_settings(given, {}), login_to(wire))
            running = asyncio.create_task(operator.run())
            try:
                return await story(operator, server, running)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    return asyncio.run(main())


async def until(running: asyncio.Task[int], holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            assert not running.done()
            await asyncio.sleep(0.01)


async def leading(operator: Operator, server: OnlyTheLease, running: asyncio.Task[int]) -> None:
    """It has seen every kind, leads, and waits for the deployments."""
    operator._watches.filled.set()
    await until(running, lambda: DEPLOYMENTS in server.hung)


def test_an_operator_that_has_not_seen_every_kind_leaves_the_lease_to_others(tmp_path: Path) -> None:
    async def story(operator: Operator, server: OnlyTheLease, running: asyncio.Task[int]) -> object:
        await until(running, lambda: server.looks > 1)
        before = server.spec
        await leading(operator, server, running)
        return before, server.spec is not None

    assert told(tmp_path, story) == (None, True)


def test_an_operator_that_waits_for_the_first_answers_ends_when_it_is_told_to(tmp_path: Path) -> None:
    async def story(operator: Operator, server: OnlyTheLease, running: asyncio.Task[int]) -> tuple[int, float]:
        await leading(operator, server, running)
        began = time.monotonic()
        operator._stop.set()
        return await running, time.monotonic() - began

    code, passed = told(tmp_path, story)

    assert code == 0
    assert passed < SOON


def test_an_operator_that_waits_for_the_first_answers_ends_when_the_lease_is_lost(tmp_path: Path) -> None:
    async def story(operator: Operator, server: OnlyTheLease, running: asyncio.Task[int]) -> tuple[int, float]:
        await leading(operator, server, running)
        began = time.monotonic()
        operator._elector.lost.set()
        return await running, time.monotonic() - began

    code, passed = told(tmp_path, story)

    assert code == 1
    assert passed < SOON


def test_what_servers_may_believe_is_unknown_until_it_was_read(tmp_path: Path) -> None:
    """Else a server that does not answer at the start would cost every deployment its map of access."""

    async def story(operator: Operator, server: OnlyTheLease, running: asyncio.Task[int]) -> str | None:
        await until(running, lambda: server.hung)
        return operator._platform.access

    assert told(tmp_path, story) is None


def test_a_new_leader_reads_what_the_last_one_has_written_and_no_watch_has_shown(tmp_path: Path) -> None:
    def deployment(version: str, phase: str) -> dict[str, Any]:
        about = {"namespace": "shop", "name": "fraud", "uid": "u", "resourceVersion": version}
        return {"metadata": about, "spec": {}, "status": {"phase": phase}}

    async def story(operator: Operator, server: OnlyTheLease, running: asyncio.Task[int]) -> object:
        operator._cache.put(MODEL_DEPLOYMENT, deployment("3", "Serving"))
        server.deployments = [deployment("8", "Holding")]
        operator._watches.filled.set()
        await until(running, lambda: "/.well-known/openid-configuration" in server.hung)
        found = operator._cache.get(MODEL_DEPLOYMENT, "shop", "fraud")
        return found and found["status"]["phase"]

    assert told(tmp_path, story) == "Holding"
