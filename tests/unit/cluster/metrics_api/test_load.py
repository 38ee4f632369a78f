"""Pods' counters, read when somebody asks: within limits, shared between askers, and never held up by one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.unit.cluster.pods import ready_pod

from tidegate.cluster.metrics_api import load
from tidegate.cluster.metrics_api.load import MOST_SERVERS, History, Loads, Unread, spread
from tidegate.cluster.seen import Cache
from tidegate.internal.calls import Address, Answer, NoAnswer
from tidegate.plan.load import Reading
from tidegate.plan.manifests.identity import POD

KEY = ("payments", "fraud")
pause = asyncio.sleep  # as it is before a test makes it the clock's
FIRST = Reading(at=0, started=1, requests=0, answered=0, busy=0, begun=0, waited=0, in_flight=0)


class Pods:
    """Ready servers, each at its own address; a clock that only pauses move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, runner: asyncio.Runner, count: int) -> None:
        self._runner = runner
        self.now = 100.0
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self.silent: set[str] = set()
        cache = Cache()
        for number in range(count):
            cache.put(POD, self.pod(number))
        self.cache = cache
        self.loads = Loads(cache, asyncio.Semaphore(4), lambda: self.now)
        monkeypatch.setattr(load, "call", self.call)
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    def pod(self, number: int, **labels: str) -> dict[str, object]:
        found = ready_pod(name=f"fraud-{number}")
        found["metadata"]["resourceVersion"] = str(number + 1)
        found["metadata"]["labels"] |= {"app.kubernetes.io/component": "server", **labels}
        found["status"]["podIP"] = f"10.0.0.{number}"
        return found

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def call(self, address: Address, method: str, path: str) -> Answer:
        assert (address.port, method, path, address.token) == (9090, "GET", "/metrics", "")
        self.asked.append(address.host)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await pause(0)
        self.at_once -= 1
        if address.host in self.silent:
            raise NoAnswer("no answer")
        return Answer(200, PAGE.format(busy=3 * self.now).encode())

    def windows(self, revision: str = "") -> tuple[int, int, float]:
        """How many have told, how many there are, and how long the windows are."""

        async def ask() -> tuple[int, int, float]:
            found, servers = await self.loads.windows(KEY, revision)
            return len(found), servers, max(window.seconds for window in found)

        return self._runner.run(ask())


PAGE = """tidegate_requests_in_flight 0
tidegate_start_time_seconds 1
tidegate_queue_duration_seconds_sum 0
tidegate_queue_duration_seconds_count 0
tidegate_request_duration_seconds_sum {busy}
tidegate_request_duration_seconds_count 1
"""


@pytest.fixture
def pods(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pods]:
    with asyncio.Runner() as runner:
        yield Pods(monkeypatch, runner, 6)


def test_who_was_never_read_is_read_twice_a_second_apart(pods: Pods) -> None:
    assert pods.windows() == (6, 6, 1.0)
    assert len(pods.asked) == 12


def test_the_next_window_begins_with_the_last_reading(pods: Pods) -> None:
    pods.windows()
    pods.now += 15

    assert pods.windows()[2] == 15


def test_two_who_ask_within_a_second_share_a_reading(pods: Pods) -> None:
    pods.windows()
    before = len(pods.asked)
    pods.now += 0.5

    pods.windows()

    assert len(pods.asked) == before


def test_no_more_are_read_at_once_than_there_is_room_for(pods: Pods) -> None:
    pods.windows()

    assert pods.most_at_once == 4


def test_load_that_moves_to_a_new_server_counts_once(pods: Pods) -> None:
    """One answer's windows are of the same time, for old servers and new ones."""
    pods.windows()
    pods.now += 15
    pods.cache.put(POD, pods.pod(30))

    assert pods.windows() == (7, 7, 1.0)
    pods.now += 2
    assert pods.windows()[2] == 3
    pods.now += 15
    assert pods.windows()[2] == 15


def test_some_that_are_silent_do_not_matter_and_half_of_them_do(pods: Pods) -> None:
    pods.silent = {"10.0.0.0", "10.0.0.1", "10.0.0.2"}
    assert pods.windows()[:2] == (3, 6)
    pods.silent.add("10.0.0.3")
    pods.now += 5

    with pytest.raises(Unread, match="2 of 6 servers of fraud"):
        pods.windows()


def test_only_ready_servers_of_the_revision_that_stay_are_read(pods: Pods) -> None:
    resolver = pods.pod(20, **{"app.kubernetes.io/component": "resolve"})
    leaving = pods.pod(21)
    leaving["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z"}  # type: ignore[operator]
    other = pods.pod(22, **{"serving.tidegate.io/revision": "bbbbbbbbbb"})
    for pod in (resolver, leaving, other):
        pods.cache.put(POD, pod)

    assert pods.windows()[1] == 7
    assert pods.windows("bbbbbbbbbb")[1] == 1
    with pytest.raises(Unread, match="no server of fraud is ready"):
        pods.windows("cccccccccc")


def test_servers_that_nobody_asks_for_are_forgotten(pods: Pods) -> None:
    pods.windows()
    pods.now += 200

    assert pods.windows()[2] == 1.0


def test_of_many_servers_a_part_is_read_that_is_spread_over_all() -> None:
    many = [{"number": number} for number in range(1000)]

    found = [one["number"] for one in spread(many, MOST_SERVERS)]

    assert len(found) == MOST_SERVERS
    assert found[0] == 0
    assert found[-1] > 980
    assert spread(many[:3], MOST_SERVERS) == many[:3]


def test_a_server_that_was_started_anew_has_no_past() -> None:
    history = History()
    history.add(FIRST)
    history.add(replace(FIRST, at=10, started=9))

    assert history.began is None


def test_a_window_has_at_least_five_seconds_where_there_are_readings_that_old() -> None:
    history = History()
    for at in range(20):
        history.add(replace(FIRST, at=float(at)))

    assert history.began == 14
    assert history.window(14).seconds == 5
    assert len(history.readings) == 6
