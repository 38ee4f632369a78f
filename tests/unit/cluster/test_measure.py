"""Reading pods' counters: as the operator's account, all at once, and never held up by one that is silent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from aiohttp import web
from tests.unit.plan.manifests.parts import NEW, OLD, plan_of, wanted
from tests.unit.plan.servers import Server

from tidegate.cluster import measure
from tidegate.cluster.measure import Measurer
from tidegate.cluster.observe import Look
from tidegate.internal import calls
from tidegate.plan.manifests.children import Seen
from tidegate.plan.manifests.identity import Owner
from tidegate.plan.samples import PodSample
from tidegate.plan.wanted import ShadowWanted

from .pods import Object, ready_pod
from .wire import Asked, serving

T = TypeVar("T")
KEY = ("payments", "fraud")


def look(*pods: Object) -> Look:
    return Look(Owner(*KEY, "uid-1"), {"metadata": {}, "spec": {}}, Seen(), pods, {}, datetime(2026, 1, 1, tzinfo=UTC))


def pod(revision: str, name: str, address: str = "127.0.0.1") -> Object:
    found = ready_pod(revision, name)
    found["status"]["podIP"] = address
    return found


@dataclass
class Pods:
    """Pods that all give the same answer; what was read of them, and what they were asked."""

    monkeypatch: pytest.MonkeyPatch
    answer: tuple[int, Any] = (200, {})
    handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | None = None
    asked: list[Asked] = field(default_factory=list)

    def read(self, seen: Look, *revisions: str, at_once: int = 64) -> tuple[PodSample, ...]:
        async def ask(measurer: Measurer) -> tuple[PodSample, ...]:
            return await measurer.samples(seen, revisions)

        return self.run(ask, at_once)

    def run(self, work: Callable[[Measurer], Awaitable[T]], at_once: int = 64) -> T:
        async def main() -> T:
            async with serving(self.answer) as wire:
                wire.handle, wire.asked = self.handle, self.asked
                self.monkeypatch.setattr(measure, "METRICS_PORT", wire.port)
                return await work(Measurer(lambda: "the-token", at_once))

        return asyncio.run(main())


@pytest.fixture
def pods(monkeypatch: pytest.MonkeyPatch) -> Pods:
    return Pods(monkeypatch)


def counters(revision: str) -> Any:
    return Server("one", revision).answers(10, bad=1, seconds=3).document(0)


def test_counters_are_asked_for_with_the_operators_token(pods: Pods) -> None:
    pods.answer = (200, counters(OLD))

    found = pods.read(look(pod(OLD, "a")), OLD)

    assert [(one.revision, one.requests.n, one.requests.errors.bad) for one in found] == [(OLD, 30, 3)]
    assert (pods.asked[0].path, pods.asked[0].headers["Authorization"]) == ("/internal/evidence", "Bearer the-token")


def test_only_ready_pods_of_the_versions_that_are_compared_are_asked(pods: Pods) -> None:
    unready = pod(OLD, "b")
    unready["status"]["conditions"] = []
    pods.answer = (200, counters(OLD))

    found = pods.read(look(pod(OLD, "a"), unready, pod(NEW, "c"), pod("cccccccccc", "d")), OLD, NEW)

    assert (len(found), len(pods.asked)) == (2, 2)


@pytest.mark.parametrize("answer", [(401, {}), (500, {}), (200, {"apiVersion": "of/another"}), (200, [])])
def test_a_pod_that_does_not_answer_as_agreed_is_missing_and_never_a_zero(pods: Pods, answer: tuple[int, Any]) -> None:
    pods.answer = answer

    assert pods.read(look(pod(OLD, "a")), OLD) == ()


def test_one_silent_pod_does_not_hide_the_others(pods: Pods) -> None:
    pods.answer = (200, counters(OLD))

    assert len(pods.read(look(pod(OLD, "a"), pod(OLD, "b", "127.0.0.2")), OLD)) == 1


def test_of_many_pods_as_many_are_asked_as_can_be_remembered(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = calls.call.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "deadline", 60.0)  # a machine that stood still hid them all
    pods.answer = (200, counters(OLD))
    many = [pod(revision, f"{revision}-{number}") for revision in (OLD, NEW) for number in range(40)]

    assert len(pods.read(look(*many), OLD, NEW)) == 64


def test_no_more_pods_are_asked_at_once_than_is_allowed(pods: Pods) -> None:
    under_way, most = 0, 0

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return web.json_response(counters(OLD))

    pods.handle = handle
    found = pods.read(look(*(pod(OLD, str(number)) for number in range(12))), OLD, at_once=3)

    assert len(found) == 12
    assert 1 <= most <= 3


def test_a_deployment_of_which_nothing_is_wanted_is_asked_nothing(pods: Pods) -> None:
    async def nothing(measurer: Measurer) -> None:
        await measurer.carry_out(KEY, look(pod(OLD, "a")), plan_of(), timedelta(seconds=10))

    pods.run(nothing)

    assert pods.asked == []


def test_requests_are_copied_by_the_servers_own_identity_and_not_by_ours(pods: Pods) -> None:
    shadow = ShadowWanted(OLD, NEW, 10.0, None)
    wanted_by = replace(plan_of(wanted(OLD), wanted(NEW), weights={OLD: 100}, stable=OLD), shadow=shadow)

    async def aim(measurer: Measurer) -> None:
        await measurer.carry_out(KEY, look(pod(OLD, "a"), pod(NEW, "b")), wanted_by, timedelta(seconds=10))

    pods.run(aim)

    told = {asked.path: asked.body for asked in pods.asked}
    assert told["/internal/shadow"]["percent"] == 10.0
    assert told["/internal/shadow"]["token"] == ""
    assert "/internal/rules" in told
