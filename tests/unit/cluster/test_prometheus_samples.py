"""Counters that went through /metrics and a Prometheus are those that a server tells itself, or they are none."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.cluster.fake_prometheus import NOW

from tidegate.api.evidence import MAX_INSTANCES
from tidegate.cluster.prometheus_answer import Point
from tidegate.cluster.prometheus_samples import FAMILY, LABELS, Pods, counters, presence, read, sample_of
from tidegate.plan.samples import PodSample, Traffic, parse_sample
from tidegate_runtime.counters import Counters
from tidegate_runtime.divergence import Clock
from tidegate_runtime.metrics import Now, exposition

START = 1_767_225_000.25
LATER = 400.0  # monotonic seconds after START
PODS = Pods("shop", "fraud", ("r1", "r2"))
Series = list[tuple[dict[str, str], float]]


class Server(Counters):
    """A server's counters, read `LATER`."""

    def __init__(self) -> None:
        super().__init__(clock=Clock(0.0, START))

    def until(self, now: float | None = None) -> int:
        return super().until(LATER if now is None else now)

    def told(self) -> PodSample:
        """What /internal/evidence says, without what is never evidence."""
        found = {**self.evidence(), "revision": "r1", "inFlight": 0, "queued": 0}
        found["divergence"]["dropped"] = 3
        return replace(parse_sample(json.loads(json.dumps(found))), pinned=Traffic())

    def shown(self) -> Series:
        """What a scrape of /metrics brings."""
        labels = {"model": "fraud", "version": "v1", "revision": "r1"}
        page = exposition(self, Now(labels, True, 0, 0, 1, 0, {}, 3, None)).decode()
        return [
            ({**sample.labels, "__name__": sample.name}, float(sample.value))
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name.startswith(FAMILY)
        ]

    def scraped(self) -> PodSample | None:
        return sample_of(self.instance, "r1", keyed(self.shown()))


def keyed(series: Series) -> dict[tuple[str, ...], float]:
    return {
        (labels["__name__"].removeprefix(FAMILY), *(labels.get(name, "") for name in LABELS)): value
        for labels, value in series
    }


def busy() -> Server:
    server = Server()
    for i in range(600):
        server.lanes["requests"].add(i / 2, 0.0005 * 1.01**i, i % 7 == 0)
        server.lanes["pinned"].add(i / 2, 0.01, True)
    server.lanes["synthetic"].add(5, 0.01, True)
    server.client_errors, server.throttled = 4, 2
    for i in range(20):
        server.divergence.add(i, i % 2 == 0, {"scores": (i % 5 == 0, 0.1), 'odd"\\name': (True, 0.2)})
    return server


@cache
def busy_series() -> Series:
    return busy().shown()


# The same numbers.


def test_what_was_scraped_is_what_the_server_tells_itself() -> None:
    server = busy()

    assert server.scraped() == server.told()
    assert server.told().requests.errors.bad > 0


def test_a_server_without_traffic_shows_all_that_is_needed() -> None:
    server = Server()

    assert server.scraped() == server.told()
    assert len(server.shown()) == 25


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 300), st.sampled_from([1e-5, 1e-4, 0.0011, 0.0012, 0.05, 59.0, 61.0, 100.0]), st.booleans()
        ),
        max_size=40,
    )
)
def test_whatever_a_server_counted_arrives_as_it_is(rows: list[tuple[float, float, bool]]) -> None:
    server = Server()
    for now, seconds, failed in sorted(rows):
        server.lanes["requests"].add(now, seconds, failed)

    assert server.scraped() == server.told()


def test_of_275_buckets_only_those_that_were_hit_cost_series() -> None:
    server = Server()
    for i in range(1000):
        server.lanes["requests"].add(i / 10, 0.003 + (i % 10) / 10000, False)

    hit = sum(1 for count in server.told().requests.latency_counts if count)

    assert hit < 10
    assert len(server.shown()) <= 25 + 3 * hit


# Half a reading is none.


@pytest.mark.parametrize("family", sorted({name for labels, _ in busy().shown() for name in [labels["__name__"]]}))
def test_a_family_that_was_lost_on_the_way_makes_the_sample_none(family: str) -> None:
    kept = [(labels, value) for labels, value in busy().shown() if labels["__name__"] != family]

    assert sample_of("p", "r1", keyed(kept)) is None


@pytest.mark.parametrize(
    ("family", "labels", "value"),
    [
        ("latency_total", {"edge": "100"}, 5.5),
        ("latency_total", {"edge": "275"}, 1.0),
        ("latency_total", {"edge": "-1"}, 1.0),
        ("latency_total", {"edge": "x"}, 1.0),
        ("slower_squares_total", {"edge": "274", "seconds": "1"}, 1.0),
        ("slower_squares_total", {"edge": "0", "seconds": "1"}, float("nan")),
        ("events_total", {"of": "requests"}, float("inf")),
        ("events_total", {"of": "requests"}, 599.0),
        ("bad_total", {"of": "requests", "check": "errors"}, 601.0),
        ("until_seconds", {}, -1.0),
    ],
)
def test_counters_that_make_no_sense_together_are_none(family: str, labels: Mapping[str, str], value: float) -> None:
    series = keyed(busy().shown())
    series[family, *(labels.get(name, "") for name in LABELS)] = value

    assert sample_of("p", "r1", series) is None


# Who is asked for.


class World:
    """A Prometheus that has scraped servers of several processes; `asked` is (query, time)."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[str, float, float]] = {}  # process -> revision, scraped, started
        self.counters: dict[str, Series] = {}
        self.asked: list[tuple[str, float | None]] = []

    def scraped(self, process: str, revision: str, ago: float = 5.0, started: float = START) -> World:
        self.seen[process] = (revision, NOW - ago, started)
        self.counters[process] = [({**labels, "process": process}, value) for labels, value in busy_series()]
        return self

    async def ask(self, text: str, at: float | None) -> list[Point]:
        self.asked.append((text, at))
        if text.startswith("label_replace"):
            return [
                Point({"process": process, "revision": revision, "what": what}, NOW, value)
                for process, (revision, scraped, started) in self.seen.items()
                for what, value in (("at", scraped), ("started", started))
            ]
        found = re.search(r'process=~"([^"]*)"', text)
        assert found is not None
        chosen = found[1].replace("\\\\", "").split("|")
        return [Point(labels, NOW, value) for process in chosen for labels, value in self.counters[process]]

    def read(self, pods: Pods = PODS) -> tuple[PodSample, ...]:
        return asyncio.run(read(self.ask, pods))


def names(samples: tuple[PodSample, ...]) -> list[tuple[str, str]]:
    return sorted((sample.revision, sample.instance) for sample in samples)


def test_every_server_of_both_versions_is_read() -> None:
    world = World().scraped("a1", "r1").scraped("a2", "r1").scraped("b1", "r2")

    assert names(world.read()) == [("r1", "a1"), ("r1", "a2"), ("r2", "b1")]


def test_the_candidate_is_read_no_later_than_the_stable_version() -> None:
    world = World().scraped("a1", "r1", ago=9).scraped("a2", "r1", ago=12).scraped("b1", "r2", ago=1)

    world.read()

    assert [at for _, at in world.asked] == [None, None, NOW - 12]


def test_a_candidate_without_a_stable_version_is_read_as_it_is() -> None:
    world = World().scraped("b1", "r2")

    assert names(world.read()) == [("r2", "b1")]
    assert [at for _, at in world.asked] == [None, None]


@pytest.mark.parametrize(("ago", "known"), [(59.0, True), (61.0, False)])
def test_a_server_whose_last_scrape_is_old_is_missing(ago: float, known: bool) -> None:
    world = World().scraped("a1", "r1").scraped("b1", "r2", ago=ago)

    assert (("r2", "b1") in names(world.read())) is known


def test_nothing_is_asked_about_nobody() -> None:
    world = World()

    assert world.read(Pods("shop", "fraud", ())) == ()
    assert world.asked == []


def test_where_nothing_is_scraped_there_is_nothing_and_no_second_question() -> None:
    world = World()

    assert world.read() == ()
    assert len(world.asked) == 1


def test_of_many_servers_the_oldest_are_read_as_ever_the_same() -> None:
    world = World()
    for i in range(100):
        world.scraped(f"a{i:03}", "r1", started=START - i)
    world.scraped("b1", "r2")

    found = world.read()

    share = MAX_INSTANCES // 2
    assert names(found)[-1] == ("r2", "b1")
    assert [name for revision, name in names(found) if revision == "r1"] == [
        f"a{i:03}" for i in range(100 - share, 100)
    ]


def test_a_process_that_was_seen_without_its_start_is_missing() -> None:
    async def ask(text: str, at: float | None) -> list[Point]:
        return [Point({"process": "a1", "revision": "r1", "what": "at"}, NOW, NOW)]

    assert asyncio.run(read(ask, PODS)) == ()


def test_series_that_were_not_asked_for_are_passed_over() -> None:
    world = World().scraped("a1", "r1")
    world.counters["a1"] += [({"__name__": FAMILY + "events_total", "process": "zz"}, 1.0), ({}, 1.0)]

    assert names(world.read()) == [("r1", "a1")]


def test_names_go_into_a_query_as_strings_that_mean_nothing_else() -> None:
    asked = presence(Pods('a"} or up{x="', "n\\", ("r.1", "r|2")))

    assert 'namespace="a\\"} or up{x=\\""' in asked
    assert 'model="n\\\\"' in asked
    assert 'revision=~"r\\\\.1|r\\\\|2"' in asked
    assert 'process=~"p1|p2"' in counters(PODS, ["p1", "p2"])


def test_every_label_of_the_evidence_is_asked_for() -> None:
    own: set[str] = set().union(*(labels for labels, _ in busy().shown()))

    known: set[Any] = {"__name__", "model", "version", "revision", "process"}
    assert own - known == set(LABELS)
