"""What the session hears of lists and watches: pages, news, what vanished; and whose request is about what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from yarl import URL

from tidegate.cluster.api import Key
from tidegate.cluster.listening import Listener, Overheard, Target
from tidegate.cluster.seen import Cache
from tidegate.plan.manifests.identity import DEPLOYMENT, HTTP_ROUTE, LABEL_DEPLOYMENT, MODEL_DEPLOYMENT, POD, Kind

Object = dict[str, Any]
SERVER = "https://10.0.0.1:6443"


class Ear:
    """A listener to pods and Deployments, and what it woke."""

    def __init__(self, *namespaces: str) -> None:
        self.cache, self.woken = Cache(), list[Key]()
        self.listener = Listener((DEPLOYMENT, POD), namespaces, self.cache, self.woken.append, optional=(HTTP_ROUTE,))

    def page(self, kind: Kind, *names: str, more: str = "", version: int = 50, namespace: str | None = None) -> Object:
        target = Target(kind, namespace, False, getattr(self, "_going_on", False))
        self._going_on = bool(more)
        document = {
            "metadata": {"resourceVersion": str(version), "continue": more},
            "items": [item(name, version - 1) for name in names],
        }
        return self.listener.page(target, document)


def item(name: str, version: int = 9) -> Object:
    labels = {LABEL_DEPLOYMENT: "fraud"}
    about = {"name": name, "namespace": "ns", "uid": f"u-{name}", "resourceVersion": str(version), "labels": labels}
    return {"metadata": about, "spec": {"replicas": 1}, "status": {}}


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/apis/apps/v1/deployments?limit=500", Target(DEPLOYMENT, None, False, False)),
        ("/apis/apps/v1/namespaces/ns/deployments?watch=true", Target(DEPLOYMENT, "ns", True, False)),
        ("/api/v1/pods?limit=500&continue=abc", Target(POD, None, False, True)),
        ("/k8s/clusters/c-1/api/v1/namespaces/api/pods", Target(POD, "api", False, False)),
        ("/api/v1/namespaces/ns/pods/one", None),
        ("/api/v1/namespaces", None),
        ("/apis/apps/v1", None),
        ("/apis/extensions/v1/deployments", None),
        ("/version", None),
    ],
)
def test_a_request_is_known_by_its_path(path: str, target: Target | None) -> None:
    assert Ear().listener.target(URL(SERVER + path)) == target


def test_a_kind_is_filled_with_its_last_page_and_not_before() -> None:
    ear = Ear()
    ear.page(POD)
    ear.page(DEPLOYMENT, "a", more="next")
    assert (ear.listener.filled.is_set(), ear.listener.missing()) == (False, ["deployments"])

    ear.page(DEPLOYMENT, "b")

    assert ear.listener.filled.is_set()
    assert len(ear.cache.of("ns", "fraud")) == 2


def test_every_namespace_has_to_be_listed() -> None:
    ear = Ear("a", "b")
    for kind in (POD, DEPLOYMENT):
        ear.page(kind, namespace="a")
    assert ear.listener.missing() == ["deployments in b", "pods in b"]

    for kind in (POD, DEPLOYMENT):
        ear.page(kind, namespace="b")

    assert ear.listener.filled.is_set()


def test_a_kind_that_not_every_cluster_has_is_waited_for_where_it_is_there() -> None:
    without, having = Ear(), Ear()
    having.listener.expect([HTTP_ROUTE])
    for ear in (without, having):
        ear.page(POD)
        ear.page(DEPLOYMENT)

    assert (without.listener.filled.is_set(), having.listener.missing()) == (True, ["httproutes"])
    assert not without.listener.lists(HTTP_ROUTE)
    having.page(HTTP_ROUTE)
    assert having.listener.filled.is_set()
    assert having.listener.lists(HTTP_ROUTE)


def test_a_kind_that_comes_later_wakes_everybody() -> None:
    ear = Ear()
    ear.page(POD)
    ear.page(DEPLOYMENT)
    deployment = {"metadata": {"name": "fraud", "namespace": "ns", "uid": "u", "resourceVersion": "5"}}
    ear.cache.put(MODEL_DEPLOYMENT, deployment)
    ear.woken.clear()

    ear.page(HTTP_ROUTE)
    ear.page(HTTP_ROUTE)

    assert ear.listener.lists(HTTP_ROUTE)
    assert ear.woken == [("ns", "fraud")]


def test_a_kind_that_is_not_there_is_never_silent() -> None:
    ear = Ear()
    ear.listener.hear_of_all()

    assert set(ear.listener.ages()) == {"deployments", "pods"}


def test_a_list_wakes_each_deployment_that_has_news() -> None:
    ear = Ear()
    ear.page(DEPLOYMENT, "a", "b")

    assert set(ear.woken) == {("ns", "fraud")}


def test_a_second_list_with_nothing_new_wakes_nobody() -> None:
    ear = Ear()
    ear.page(DEPLOYMENT, "a", version=50)
    ear.woken.clear()
    ear.page(DEPLOYMENT, "a", version=50)

    assert ear.woken == []


def test_what_vanished_while_nobody_watched_is_forgotten_and_missed() -> None:
    ear = Ear()
    ear.page(DEPLOYMENT, "a", "b", version=50)
    ear.woken.clear()
    ear.page(DEPLOYMENT, "b", version=60)

    assert ear.cache.get(DEPLOYMENT, "ns", "a") is None
    assert ("ns", "fraud") in ear.woken


def test_what_is_on_a_later_page_is_not_forgotten() -> None:
    ear = Ear()
    ear.page(DEPLOYMENT, "a", "b", version=50)
    ear.page(DEPLOYMENT, "a", more="next", version=60)
    ear.page(DEPLOYMENT, "b", version=60)

    assert len(ear.cache.of("ns", "fraud")) == 2


def test_a_list_that_was_broken_off_is_begun_anew() -> None:
    ear = Ear()
    ear.page(DEPLOYMENT, "a", "b", version=50)
    ear.page(DEPLOYMENT, "a", more="next", version=60)
    ear._going_on = False
    ear.page(DEPLOYMENT, "b", version=70)

    assert ear.cache.get(DEPLOYMENT, "ns", "a") is None


def test_kopf_is_shown_empty_pages() -> None:
    shown = Ear().page(DEPLOYMENT, "a", more="next", version=50)

    assert shown == {"metadata": {"resourceVersion": "50", "continue": "next"}, "items": []}


def test_odd_items_are_passed_over() -> None:
    ear = Ear()
    target = Target(DEPLOYMENT, None, False, False)
    ear.listener.page(target, {"items": None})
    ear.listener.page(target, {"items": [{}, {"metadata": {}}, {"metadata": None}, item("a")]})

    assert len(ear.cache.of("ns", "fraud")) == 1


def test_kinds_are_heard_of_from_the_start_to_the_end() -> None:
    listener = Listener((DEPLOYMENT, MODEL_DEPLOYMENT), (), Cache(), lambda key: None)
    assert listener.ages() == {}

    listener.hear_of_all()
    assert set(listener.ages()) == {"deployments", "modeldeployments"}

    listener.forget()
    assert listener.ages() == {}


# -- watches


class Stream:
    """What aiohttp gives of a watch, in these pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = pieces

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece

    def exception(self) -> str:
        return "of aiohttp"


def watched(ear: Ear, *pieces: bytes) -> list[bytes]:
    """The lines that kopf reads of a watch of Deployments."""

    async def main() -> bytes:
        stream = Overheard(Stream(pieces), DEPLOYMENT, ear.listener)  # type: ignore[arg-type]
        return b"".join([piece async for piece in stream.iter_chunked(1024)])

    return asyncio.run(main()).splitlines()


def line(event_type: str, obj: Object) -> bytes:
    return json.dumps({"type": event_type, "object": obj}).encode() + b"\n"


def bookmark(version: int) -> bytes:
    return line("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})


def test_news_goes_into_the_cache_and_kopf_is_shown_how_far_it_got() -> None:
    ear = Ear()

    shown = watched(ear, line("ADDED", item("a", 7)) + line("MODIFIED", item("a", 8)), line("DELETED", item("b", 9)))

    assert [json.loads(one) for one in shown] == [json.loads(bookmark(version)) for version in (7, 8, 9)]
    assert ear.cache.get(DEPLOYMENT, "ns", "a")
    assert ear.woken == [("ns", "fraud")] * 2


def test_a_deletion_is_heard() -> None:
    ear = Ear()
    watched(ear, line("ADDED", item("a", 7)), line("DELETED", item("a", 8)))

    assert ear.cache.get(DEPLOYMENT, "ns", "a") is None


def test_lines_may_come_in_pieces() -> None:
    ear, whole = Ear(), line("ADDED", item("a", 7)) + line("ADDED", item("b", 8))

    shown = watched(ear, *(whole[place : place + 5] for place in range(0, len(whole), 5)))

    assert len(shown) == len(ear.cache.of("ns", "fraud")) == 2


@pytest.mark.parametrize(
    "told",
    [
        bookmark(9),
        line("UNHEARD-OF", item("a")),
        b"\n",  # what a proxy says to keep a connection
    ],
)
def test_kopf_is_shown_whatever_is_no_news(told: bytes) -> None:
    ear = Ear()

    assert watched(ear, told) == told.splitlines()
    assert ear.woken == []


@pytest.mark.parametrize(
    "told",
    [
        line("ERROR", {"kind": "Status", "code": 410}),
        line("ERROR", {"kind": "Status", "code": 500, "message": "etcdserver: leader changed"}),
        line("ERROR", {}),
        b'{"type": "ADDED"}\n',
        b'{"type": "ADDED", "object": []}\n',
        b"[]\n",
        b"<html>\n",
    ],
)
def test_of_whatever_goes_wrong_kopf_is_shown_that_the_watch_has_expired(told: bytes) -> None:
    ear = Ear()

    (shown,) = watched(ear, told)

    assert json.loads(shown) == {"type": "ERROR", "object": {"kind": "Status", "code": 410}}
    assert ear.woken == []


def test_half_a_line_at_the_end_is_not_shown() -> None:
    ear = Ear()

    shown = watched(ear, line("ADDED", item("a", 7)) + line("ADDED", item("b", 8))[:30])

    assert [json.loads(one) for one in shown] == [json.loads(bookmark(7))]
    assert len(ear.cache.of("ns", "fraud")) == 1


def test_news_of_nothing_is_passed_over() -> None:
    ear = Ear()

    assert [json.loads(one)["type"] for one in watched(ear, line("ADDED", {}), line("ADDED", {"metadata": {}}))] == [
        "BOOKMARK"
    ] * 2
    assert ear.woken == []


def test_everything_else_of_a_stream_is_aiohttps_own() -> None:
    assert Overheard(Stream([]), DEPLOYMENT, Ear().listener).exception() == "of aiohttp"  # type: ignore[arg-type]
