"""kopf against a server on loopback: what reaches the cache and the queue, and what ends the watches."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from itertools import islice

import kopf
import pytest
from aiohttp import web
from tests.unit.cluster.watched import Cluster, cluster
from tests.unit.cluster.watcher import FRAUD, PATIENCE, Watcher, pause_little, watched
from tests.unit.cluster.wire import login_to

from tidegate.cluster.probes import SILENCE_SECONDS
from tidegate.cluster.seen import Cache
from tidegate.cluster.watch import KINDS, EndlessPauses, Watches, watch_settings
from tidegate.plan.manifests.identity import DEPLOYMENT, GROUP, MODEL_DEPLOYMENT, POD, ROUTE_KINDS, SERVICE


@pytest.fixture(autouse=True)
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pause_little(monkeypatch)


def test_what_is_there_at_the_start_is_seen_and_wakes_its_deployment() -> None:
    def prepare(served: Cluster) -> None:
        served.put(MODEL_DEPLOYMENT, "fraud")
        served.put(DEPLOYMENT, "fraud-abc", spec={"replicas": 2})
        served.put(POD, "fraud-abc-1", status={"phase": "Running"})

    watcher = watched(Watcher.filled, prepare)

    assert watcher.cache.deployments() == [FRAUD]
    assert {(kind, obj["metadata"]["name"]) for kind, obj in watcher.cache.of(*FRAUD)} == {
        (DEPLOYMENT, "fraud-abc"), (POD, "fraud-abc-1"),
    }  # fmt: skip
    assert set(watcher.woken) == {FRAUD}


def test_what_happens_later_is_seen_too() -> None:
    async def story(watcher: Watcher) -> None:
        await watcher.filled()
        watcher.cluster.put(MODEL_DEPLOYMENT, "fraud")
        await watcher.until(lambda: watcher.woken, "it was woken")
        watcher.cluster.put(SERVICE, "fraud")
        await watcher.until(lambda: watcher.cache.get(SERVICE, *FRAUD), "the Service was seen")
        watcher.cluster.delete(SERVICE, "fraud")
        await watcher.until(lambda: not watcher.cache.get(SERVICE, *FRAUD), "its deletion was seen")

    assert len(watched(story).woken) == 3


def test_kopf_writes_nothing() -> None:
    """Not even where it finds a finalizer that looks like one of its own."""

    async def story(watcher: Watcher) -> None:
        await watcher.filled()
        obj = watcher.cluster.put(MODEL_DEPLOYMENT, "fraud", heard=False, spec={"bundle": {}})
        obj["metadata"]["finalizers"] = ["kopf.zalando.org/KopfFinalizerMarker", f"{GROUP}/x"]
        watcher.cluster.announce(MODEL_DEPLOYMENT, obj)
        await watcher.until(lambda: watcher.cache.get(MODEL_DEPLOYMENT, *FRAUD), "it was seen")

    assert set(watched(story, lambda served: served.put(DEPLOYMENT, "a")).cluster.methods) == {"GET"}


def test_only_our_objects_are_asked_for() -> None:
    watcher = watched(Watcher.filled)

    assert watcher.cluster.queries["deployments"]["labelSelector"] == "app.kubernetes.io/managed-by=tidegate"
    assert watcher.cluster.queries["pods"]["labelSelector"] == "serving.tidegate.io/deployment"
    assert "labelSelector" not in watcher.cluster.queries["modeldeployments"]


def test_long_lists_are_read_page_by_page() -> None:
    def prepare(served: Cluster) -> None:
        served.page = 2
        for number in range(5):
            served.put(MODEL_DEPLOYMENT, f"d{number}")

    watcher = watched(Watcher.filled, prepare)

    assert len(watcher.cache.deployments()) == 5
    assert watcher.cluster.asked["list modeldeployments"] == 3


def test_every_request_carries_the_token() -> None:
    refused: list[str] = []

    def refuse(request: web.BaseRequest) -> web.Response | None:
        if request.headers.get("Authorization") != "Bearer t0ken":
            refused.append(request.path)
        return None

    watched(Watcher.filled, lambda served: setattr(served, "refuse", refuse))

    assert refused == []


def test_requests_are_counted() -> None:
    counted = watched(Watcher.filled).counted

    assert counted["list", "200"] >= len(KINDS)
    assert counted["watch", "200"] >= len(KINDS)


def test_in_single_namespaces_nothing_is_asked_of_the_whole_cluster() -> None:
    """A Role cannot grant it; and kopf would wait for it for ever."""
    paths: list[str] = []

    def refuse(request: web.BaseRequest) -> web.Response | None:
        paths.append(request.path)
        wide = request.path.endswith(("/namespaces", "/customresourcedefinitions"))
        return web.json_response({"kind": "Status", "code": 403}, status=403) if wide else None

    watched(Watcher.filled, lambda served: setattr(served, "refuse", refuse), ("team-a", "team-b"))

    lists = [path for path in paths if path.endswith("/pods")]
    assert {path.split("/")[-2] for path in lists} == {"team-a", "team-b"}
    assert not [path for path in paths if path.endswith(("/namespaces", "/customresourcedefinitions"))]


# -- trouble


@pytest.mark.parametrize("code", [403, 429, 500, 503])
def test_lists_that_fail_are_asked_for_until_they_work(code: int) -> None:
    refusals = Counter[str]()

    def refuse(request: web.BaseRequest) -> web.Response | None:
        if not request.path.endswith("/pods") or refusals["pods"] >= 12:
            return None
        refusals["pods"] += 1
        return web.json_response({"kind": "Status", "code": code}, status=code)

    watched(Watcher.filled, lambda served: setattr(served, "refuse", refuse))

    assert refusals["pods"] == 12


def test_a_list_that_is_none_is_asked_for_again() -> None:
    broken = Counter[str]()

    def refuse(request: web.BaseRequest) -> web.Response | None:
        if not request.path.endswith("/pods") or broken["pods"] >= 2:
            return None
        broken["pods"] += 1
        return web.json_response(text="<html>" if broken["pods"] == 1 else "[]")

    watched(Watcher.filled, lambda served: setattr(served, "refuse", refuse))

    assert broken["pods"] == 2


def test_what_vanished_while_the_watch_was_broken_is_forgotten() -> None:
    async def story(watcher: Watcher) -> None:
        await watcher.filled()
        watcher.woken.clear()
        watcher.cluster.delete(DEPLOYMENT, "fraud-abc", heard=False)
        watcher.cluster.fail_watch(DEPLOYMENT, 410)
        await watcher.until(lambda: not watcher.cache.get(DEPLOYMENT, "ns", "fraud-abc"), "it was missed")
        assert FRAUD in watcher.woken

    watched(story, lambda served: served.put(DEPLOYMENT, "fraud-abc"))


def test_a_watch_that_ends_is_begun_again_without_a_list() -> None:
    async def story(watcher: Watcher) -> None:
        await watcher.filled()
        watcher.cluster.end_watch(DEPLOYMENT)
        await watcher.until(lambda: watcher.cluster.asked["watch deployments"] == 2, "it was begun again")

    assert watched(story).cluster.asked["list deployments"] == 1


def test_a_watch_that_fails_for_good_is_the_end_and_the_caller_hears_of_it() -> None:
    def refuse(request: web.BaseRequest) -> web.Response | None:
        if not (request.path.endswith("/pods") and request.query.get("watch")):
            return None
        return web.json_response({"kind": "Status", "code": 400, "message": "told so"}, status=400)

    async def story(watcher: Watcher) -> None:
        async with asyncio.timeout(PATIENCE):
            await watcher.task

    with pytest.raises(Exception, match="told so"):
        watched(story, lambda served: setattr(served, "refuse", refuse))


def test_credentials_that_are_refused_for_a_while_are_tried_on() -> None:
    refusals = Counter[str]()

    def refuse(request: web.BaseRequest) -> web.Response | None:
        if refusals["all"] >= 30:
            return None
        refusals["all"] += 1
        return web.json_response({"kind": "Status", "code": 401}, status=401)

    watched(Watcher.filled, lambda served: setattr(served, "refuse", refuse))


def test_a_kind_that_does_not_exist_keeps_the_caches_unfilled() -> None:
    async def story(watcher: Watcher) -> None:
        rest = set(KINDS) - {MODEL_DEPLOYMENT}
        await watcher.until(lambda: watcher.cluster.watched >= rest, "the rest is watched")
        assert watcher.watches.listener.missing() == ["modeldeployments"]

    watched(story, lambda served: setattr(served, "missing", frozenset({MODEL_DEPLOYMENT})))


def test_a_kind_that_came_unnoticed_is_watched_when_the_watches_begin_anew() -> None:
    """Without news of its definition kopf never looks for it again."""

    async def story(watcher: Watcher) -> None:
        rest = set(KINDS) - {SERVICE}
        await watcher.until(lambda: watcher.cluster.watched >= rest, "the rest is watched")
        watcher.cluster.missing = frozenset()
        watcher.cluster.put(SERVICE, "fraud")
        assert not watcher.watches.listener.lists(SERVICE)

        watcher.watches.begin_anew()
        await watcher.filled()
        assert watcher.watches.listener.lists(SERVICE)
        watcher.cluster.put(DEPLOYMENT, "fraud-abc")
        await watcher.until(lambda: len([*watcher.cache.of(*FRAUD)]) == 2, "both are seen")

    watched(story, lambda served: setattr(served, "missing", frozenset({SERVICE})))


# -- the end


def test_watches_end_when_they_are_told_to() -> None:
    watcher = watched(Watcher.filled)

    assert watcher.task.done()
    assert watcher.watches.listener.ages() == {}


def test_tasks_that_began_meanwhile_live_on() -> None:
    """kopf's own runner would cancel them: workers, measurements, answers to probes."""

    async def story(watcher: Watcher) -> None:
        await watcher.filled()
        ours = asyncio.create_task(asyncio.sleep(60))
        await watcher.end()
        assert not ours.done()
        ours.cancel()

    watched(story)


def test_signals_can_be_taken_back_from_kopf() -> None:
    async def main() -> bool:
        heard, stop = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def take() -> None:
            loop.add_signal_handler(signal.SIGTERM, heard.set)

        async with cluster() as (_, wire):
            watches = Watches(login_to(wire), Cache(), lambda key: None)
            running = asyncio.create_task(watches.run(stop, take))
            async with asyncio.timeout(PATIENCE):
                await watches.filled.wait()
                signal.raise_signal(signal.SIGTERM)
                await heard.wait()
            lived = not running.done()
            stop.set()
            await running
            loop.remove_signal_handler(signal.SIGTERM)
            return lived

    assert asyncio.run(main())


def test_a_user_without_a_name_can_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a restricted pod stands in no passwd file."""

    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr("getpass.getuser", unknown)

    async def story(watcher: Watcher) -> None:
        await watcher.filled()

    watched(story)


def test_an_interrupted_run_leaves_nothing_open() -> None:
    async def story(watcher: Watcher) -> None:
        await watcher.filled()
        watcher.task.cancel()
        await asyncio.gather(watcher.task, return_exceptions=True)

    assert watched(story).watches._sessions == []


# -- settings


def test_pauses_between_attempts_never_run_out_and_begin_anew_for_each_request() -> None:
    pauses = EndlessPauses()

    assert len(list(islice(pauses, 1000))) == 1000
    assert next(iter(pauses)) == next(iter(pauses))


def test_kopf_is_told_to_leave_everything_alone() -> None:
    settings = watch_settings(())

    assert settings.peering.standalone
    assert not settings.posting.enabled
    assert settings.queueing.worker_limit is None
    assert settings.persistence.finalizer.startswith(GROUP)
    assert not settings.scanning.disabled
    assert watch_settings(("a",)).scanning.disabled


def test_there_are_handlers_of_events_and_no_others() -> None:
    async def main() -> kopf.OperatorRegistry:
        async with cluster() as (_, wire):
            return Watches(login_to(wire), Cache(), lambda key: None).registry()

    registry = asyncio.run(main())

    assert len(registry._watching.get_all_handlers()) == len((*KINDS, *ROUTE_KINDS))
    for others in (registry._indexing, registry._spawning, registry._changing, registry._webhooks):
        assert others.get_all_handlers() == []


def test_a_watch_is_shorter_than_the_silence_that_counts_as_a_fault() -> None:
    longest = watch_settings(()).watching.client_timeout

    assert longest
    assert longest < SILENCE_SECONDS
