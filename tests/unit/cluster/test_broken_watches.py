"""Watches that break in every way, and lists that fail: what is held is right afterwards, and the process goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from aiohttp import web
from tests.unit.cluster.watched import Cluster, tear
from tests.unit.cluster.watcher import FRAUD, Watcher, pause_little, watched

from tidegate.plan.manifests.identity import DEPLOYMENT, MODEL_DEPLOYMENT, SERVICE

SILENCE = 0.3  # seconds, in place of 70
OUTAGE = 60  # attempts: ten minutes and more, by the pauses of a real life


@pytest.fixture(autouse=True)
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pause_little(monkeypatch)


def half_a_line(served: Cluster) -> None:
    served.say(DEPLOYMENT, b'{"type": "MODIFIED", "object": {"metadata": {"name": "fra')


def half_a_line_and_an_end(served: Cluster) -> None:
    half_a_line(served)
    served.end_watch(DEPLOYMENT)


def half_a_line_and_a_reset(served: Cluster) -> None:
    half_a_line(served)
    served.reset_watch(DEPLOYMENT)


def a_page_of_a_proxy(served: Cluster) -> None:
    served.say(DEPLOYMENT, b"<html><body>Bad gateway</body></html>\n")
    served.end_watch(DEPLOYMENT)


def fails_with(code: int) -> Callable[[Cluster], None]:
    return lambda served: served.fail_watch(DEPLOYMENT, code)


BREAKS: dict[str, Callable[[Cluster], None]] = {
    "a clean end": lambda served: served.end_watch(DEPLOYMENT),
    "a reset": lambda served: served.reset_watch(DEPLOYMENT),
    "silence": lambda served: served.mute_watch(DEPLOYMENT),
    "half a line, and an end": half_a_line_and_an_end,
    "half a line, and a reset": half_a_line_and_a_reset,
    "a page of a proxy": a_page_of_a_proxy,
    **{f"error {code}": fails_with(code) for code in (410, 429, 500, 504)},
}


def prepared(served: Cluster) -> None:
    served.put(MODEL_DEPLOYMENT, "fraud")
    for name in ("changed", "deleted", "same"):
        served.put(DEPLOYMENT, name, spec={"replicas": 1})


def moves_on(served: Cluster) -> None:
    """While nobody listens."""
    served.put(DEPLOYMENT, "changed", heard=False, spec={"replicas": 2})
    served.delete(DEPLOYMENT, "deleted", heard=False)
    served.put(DEPLOYMENT, "new", heard=False, spec={"replicas": 3})


def held(watcher: Watcher) -> dict[str, int]:
    """Numbers of pods by Deployment, as the cache has them."""
    of = watcher.cache.of_kind(DEPLOYMENT, *FRAUD)
    return {obj["metadata"]["name"]: obj["spec"]["replicas"] for obj in of}


BEFORE = {"changed": 1, "deleted": 1, "same": 1}
AFTERWARDS = {"changed": 2, "same": 1, "new": 3}


@pytest.mark.parametrize("breaks", BREAKS)
def test_nothing_is_lost_when_a_watch_breaks(breaks: str) -> None:
    async def story(watcher: Watcher) -> None:
        watcher.watches.settings.watching.inactivity_timeout = SILENCE
        await watcher.filled()
        assert held(watcher) == BEFORE
        watcher.woken.clear()

        BREAKS[breaks](watcher.cluster)
        moves_on(watcher.cluster)

        await watcher.until(lambda: held(watcher) == AFTERWARDS, f"it is right again: {held(watcher)}")
        assert FRAUD in watcher.woken
        await watcher.until(lambda: DEPLOYMENT in watcher.cluster.watched, "it is watched again")
        watcher.cluster.put(DEPLOYMENT, "later", spec={"replicas": 4})
        await watcher.until(lambda: held(watcher) == {**AFTERWARDS, "later": 4}, "the new watch is heard")

    watched(story, prepared)


@pytest.mark.parametrize("breaks", BREAKS)
def test_a_watch_that_breaks_disturbs_no_other(breaks: str) -> None:
    async def story(watcher: Watcher) -> None:
        await watcher.filled()
        BREAKS[breaks](watcher.cluster)
        watcher.cluster.put(SERVICE, "fraud")
        await watcher.until(lambda: watcher.cache.get(SERVICE, *FRAUD), "the Service was seen")

    assert watched(story, prepared).cluster.asked["list services"] == 1


def test_a_watch_that_always_fails_lists_no_more_often_than_its_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.cluster.watch.RELIST_PAUSE", 0.2)

    async def story(watcher: Watcher) -> None:
        await watcher.filled()
        for lists in range(2, 6):
            await watcher.until(lambda: DEPLOYMENT in watcher.cluster.watched, "it is watched again")
            began = watcher.task.get_loop().time()
            watcher.cluster.fail_watch(DEPLOYMENT, 500)
            asked = watcher.cluster.asked
            await watcher.until(lambda: asked["list deployments"] == lists, "it is listed anew")  # noqa: B023
            assert watcher.task.get_loop().time() - began >= 0.19

    watched(story, prepared)


# -- lists


def test_a_list_that_expires_between_its_pages_is_begun_anew() -> None:
    expired = Counter[str]()

    def refuse(request: web.BaseRequest) -> web.Response | None:
        if not request.path.endswith("/deployments") or "continue" not in request.query or expired["lists"] >= 2:
            return None
        expired["lists"] += 1
        moves_on(served) if expired["lists"] == 1 else None
        return web.json_response({"kind": "Status", "code": 410, "reason": "Expired"}, status=410)

    served = Cluster()

    def prepare(found: Cluster) -> None:
        nonlocal served
        served = found
        prepared(found)
        found.page, found.refuse = 2, refuse

    watcher = watched(Watcher.filled, prepare)

    assert expired["lists"] == 2
    assert held(watcher) == AFTERWARDS


def test_what_was_known_is_kept_while_lists_fail_and_made_right_afterwards() -> None:
    failed = Counter[int]()
    ways = (503, 429, 0, 500)  # 0: no answer at all

    def refuse(request: web.BaseRequest) -> web.Response | None:
        if request.query.get("watch") or not request.path.endswith("/deployments") or failed.total() >= OUTAGE:
            return None
        code = ways[failed.total() % len(ways)]
        failed[code] += 1
        if not code:
            tear(request)
        return web.json_response({"kind": "Status", "code": code or 500}, status=code or 500)

    async def story(watcher: Watcher) -> None:
        await watcher.filled()
        watcher.cluster.refuse = refuse
        watcher.cluster.fail_watch(DEPLOYMENT, 410)
        moves_on(watcher.cluster)

        await watcher.until(lambda: failed.total() > OUTAGE // 2, "lists have failed")
        assert held(watcher) == BEFORE
        watcher.woken.clear()

        await watcher.until(lambda: held(watcher) == AFTERWARDS, "it is right again")
        assert FRAUD in watcher.woken

    watched(story, prepared)

    assert set(failed) == set(ways)
