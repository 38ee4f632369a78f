"""Single changes: with a slow network, when the leader dies, and beside an object that never rests."""

from __future__ import annotations

import select
import signal
import statistics
import threading
import time
from typing import Any

import urllib3
from benchmarks.operator_cluster import Bench, Crowd, Running, say, until
from benchmarks.slow_network import slow_network
from tests.control_plane.commands import API_PORT
from tests.control_plane.users import OPERATOR, write_kubeconfig

EACH_WAY_SECONDS = 0.005
NEW_PER_SECOND = 4
CHANGES_PER_SECOND = 20
HOT_PER_SECOND = 50
HOT_HANDS = 5
PATIENCE = 120
Figures = dict[str, Any]


def paced(per_second: float, count: int) -> Any:
    """Numbers, so many a second."""
    began = time.monotonic()
    for number in range(count):
        select.select([], [], [], max(0.0, began + number / per_second - time.monotonic()))
        yield number


# -- a slow network


def latency(bench: Bench, count: int) -> Figures:
    """How long one look takes when each request takes 10 ms longer: new deployments, a few a second, and changes."""
    network = bench.plane.place.network
    with slow_network(network.api, API_PORT, EACH_WAY_SECONDS) as port:
        server = f"https://127.0.0.1:{port}"
        path = write_kubeconfig(bench.folder / "far.kubeconfig", server, bench.plane.ca, OPERATOR.token)
        bench.stop()
        running = bench.lead("--kubeconfig", str(path))
        until(lambda: running.turns() >= bench.count(), "all were looked at", 300)
        crowd = bench.crowd(count)
        before = running.figures()
        for number in paced(NEW_PER_SECOND, count):
            bench.plane.client.create(crowd.manifest(crowd.names[number]))
        crowd.until_ready(PATIENCE)
        for number in paced(CHANGES_PER_SECOND, count):
            crowd.change(crowd.names[number], 2)
        until(lambda: all((name, 2) in crowd.observed for name in crowd.names), "all changes were seen", PATIENCE)
        turns = histogram(before, running.figures())
        told = round_trip(bench, server) - round_trip(bench, bench.plane.url)
        bench.stop()
    say(f"  turns within seconds: {turns}")
    return {
        "apiLatencyMs": round(1000 * told, 1),
        "reconcileP99Ms": round(1000 * quantile(turns, 0.99)),
        "reconcileP50Ms": round(1000 * quantile(turns, 0.5), 1),
        "reconcilesMeasured": round(max(turns.values())),
    }


def round_trip(bench: Bench, server: str) -> float:
    """Median of a small request on a connection that is open."""
    pool = urllib3.PoolManager(ca_certs=str(bench.plane.ca), retries=False)
    times = []
    for _ in range(30):
        began = time.monotonic()
        pool.request("GET", f"{server}/version", headers={"Authorization": f"Bearer {OPERATOR.token}"})
        times.append(time.monotonic() - began)
    pool.clear()
    return statistics.median(times)


def histogram(before: dict[str, float], after: dict[str, float]) -> dict[float, float]:
    """Looks within so many seconds, between two readings of /metrics."""
    start = 'tidegate_reconcile_seconds_bucket{le="'
    return {
        float(name.removeprefix(start).removesuffix('"}')): value - before.get(name, 0.0)
        for name, value in after.items()
        if name.startswith(start)
    }


def quantile(turns: dict[float, float], share: float) -> float:
    """As Prometheus reads a quantile off a histogram: linear within a bucket."""
    wanted, low, below = share * max(turns.values()), 0.0, 0.0
    for edge, count in sorted(turns.items()):
        if count >= wanted:
            return low if edge == float("inf") else low + (edge - low) * (wanted - below) / max(1.0, count - below)
        low, below = edge, count
    return low


# -- another leader


def failover(bench: Bench, rounds: int) -> Figures:
    """From the end of the leader to a change that was made right after it and is heeded."""
    crowd = bench.crowd(1)
    leader = bench.lead()
    crowd.create()
    crowd.until_ready(PATIENCE)
    seconds: dict[str, list[float]] = {"SIGKILL": [], "SIGTERM": []}
    for version in range(rounds):
        for place, number in enumerate((signal.SIGKILL, signal.SIGTERM)):
            standby = bench.start()
            standby.until_standing_by()
            seconds[number.name].append(succeeded(leader, number, crowd, 10 + 2 * version + place))
            leader = bench.running = standby
    say(f"  seconds by signal: {seconds}")
    return {
        "failoverSeconds": round(statistics.median(seconds["SIGKILL"]), 1),
        "failoverSecondsMost": round(max(seconds["SIGKILL"]), 1),
        "handoverSeconds": round(statistics.median(seconds["SIGTERM"]), 1),
        "handoverSecondsMost": round(max(seconds["SIGTERM"]), 1),
    }


def crowded(bench: Bench, rounds: int) -> Figures:
    """The same with all the objects that the other parts have left: the next leader has to list them first."""
    there = bench.count()
    found = failover(bench, rounds)
    return {"crowd": there, **{f"{name}Crowded": value for name, value in found.items()}}


def succeeded(leader: Running, number: int, crowd: Crowd, version: int) -> float:
    assert leader.operator.process is not None
    leader.operator.process.send_signal(number)
    began = time.monotonic()
    change = (crowd.names[0], crowd.change(crowd.names[0], version))
    until(lambda: change in crowd.observed, "the change is heeded", PATIENCE)
    leader.operator.process.wait(30)
    return crowd.observed[change] - began


# -- a busy neighbour


def hot(bench: Bench, count: int) -> Figures:
    """How long changes of others take, alone and beside an object that is changed all the time."""
    bench.lead()
    crowd = bench.crowd(count + 1)
    crowd.create()
    crowd.until_ready(600)
    busy, others = crowd.names[0], crowd.names[1:]
    alone = heeded(crowd, others, 11)
    with Restless(crowd, busy) as restless:
        beside = heeded(crowd, others, 12)
    say(f"  alone {alone}, beside {restless.changes} changes of one object {beside}")
    return {
        "hotObjectChangesPerSecond": round(restless.per_second, 1),
        "othersP50Ms": alone["p50"],
        "othersP99Ms": alone["p99"],
        "othersP50MsBesideHotObject": beside["p50"],
        "othersP99MsBesideHotObject": beside["p99"],
    }


def heeded(crowd: Crowd, names: list[str], version: int) -> dict[str, float]:
    """Milliseconds from the answer to a change until the status speaks of it."""
    made = {}
    for number in paced(CHANGES_PER_SECOND, len(names)):
        generation = crowd.change(names[number], version)
        made[names[number], generation] = time.monotonic()
    until(lambda: all(change in crowd.observed for change in made), "all changes are heeded", PATIENCE)
    centiles = statistics.quantiles((crowd.observed[change] - at for change, at in made.items()), n=100)
    return {"p50": round(1000 * centiles[49], 1), "p99": round(1000 * centiles[98], 1)}


class Restless:
    """People who change one object's spec fifty times a second, together."""

    def __init__(self, crowd: Crowd, name: str) -> None:
        self.changes = 0
        self.per_second = 0.0
        self._crowd, self._name = crowd, name
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._change, args=(first,)) for first in range(HOT_HANDS)]

    def __enter__(self) -> Restless:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self.per_second = self.changes / (time.monotonic() - self._began)

    def _change(self, first: int) -> None:
        for number in paced(HOT_PER_SECOND / HOT_HANDS, 10**9):
            if self._over.is_set():
                return
            self._crowd.change(self._name, 20 + (first + number * HOT_HANDS) % 60)
            self.changes += 1  # a lost count is one of thousands
