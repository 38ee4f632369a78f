"""Many deployments, a slow API server, and a long time: everybody has a turn, and nothing is remembered for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
from tests.fakes.behaviours import bundle
from tests.fakes.faults import any_write
from tests.unit.cluster.virtual_time import now, run

import tidegate.cluster.events
import tidegate.cluster.seen
from tidegate.plan.manifests.identity import DEPLOYMENT, MODEL_DEPLOYMENT, SERVICE

from .cluster_fleet import WORKERS, Fleet, Turn
from .cluster_stage import HERE, STORE, spec_of
from .cluster_tally import ran

SLOW = 2.0  # seconds for a call
MANY = 500
NAMES = [f"model-{number:03}" for number in range(MANY)]


# -- a slow API server ------------------------------------------------------------------------------------


def deploy_all(fleet: Fleet) -> None:
    for name in NAMES:
        fleet.users.deploy(name, spec_of("v1"), HERE)


def of(fleet: Fleet, name: str) -> list[Turn]:
    return [turn for turn in fleet.turns if turn.key == (HERE, name)]


def all_had_a_turn(fleet: Fleet) -> bool:
    return len({turn.key for turn in fleet.turns}) == MANY


def test_on_a_slow_api_server_everybody_has_a_turn_before_anybody_has_two() -> None:
    async def story(fleet: Fleet) -> None:
        deploy_all(fleet)
        await fleet.until(lambda: all_had_a_turn(fleet))

    fleet = run(Fleet.told(story, SLOW))

    assert [turn.key[1] for turn in fleet.turns[:MANY]] == NAMES
    ran("P15")


def test_on_a_slow_api_server_a_change_is_heeded_when_those_before_it_have_had_their_turn() -> None:
    changed_at: dict[str, tuple[float, int]] = {}

    async def story(fleet: Fleet) -> None:
        deploy_all(fleet)
        await fleet.until(lambda: len(fleet.turns) > MANY + MANY // 4)  # in the middle of the second turns
        for name in NAMES[::50]:
            fleet.users.deploy(name, spec_of("v2"), HERE)
            changed_at[name] = (now(), fleet.queue.depth)
            await asyncio.sleep(7)
        await fleet.until(lambda: all(of(fleet, name)[-1].began >= at for name, (at, _) in changed_at.items()))
        await fleet.until(lambda: fleet.queue.idle)

    fleet = run(Fleet.told(story, SLOW))

    longest = max(turn.ended - turn.began for turn in fleet.turns)
    for name, (at, before_it) in changed_at.items():
        heeded = next(turn for turn in of(fleet, name) if turn.began >= at)
        assert heeded.began - at <= longest * (before_it / WORKERS + 2), f"{name} waited behind {before_it}"
        ran("P15")


def test_on_a_slow_api_server_those_that_never_rest_have_no_more_turns_than_the_others() -> None:
    restless = (NAMES[0], NAMES[-1])

    async def story(fleet: Fleet) -> None:
        deploy_all(fleet)
        touched = 0
        while not all_had_a_turn(fleet):
            touched += 1
            for name in restless:
                fleet.users.annotate(fleet.users.get(MODEL_DEPLOYMENT, HERE, name), {"touched": str(touched)})
            await asyncio.sleep(1)
        assert touched > 100

    fleet = run(Fleet.told(story, SLOW))

    assert max(len(of(fleet, name)) for name in restless) <= 2
    ran("P15")


def test_whoever_starts_among_many_looks_at_each_once_and_writes_nothing() -> None:
    async def first(fleet: Fleet) -> None:
        deploy_all(fleet)
        await asyncio.sleep(1)
        await fleet.until(lambda: fleet.queue.idle)

    async def both() -> Fleet:
        cluster = (await Fleet.told(first)).cluster

        async def second(fleet: Fleet) -> None:
            await asyncio.sleep(1)
            await fleet.until(lambda: fleet.queue.idle)

        return await Fleet.told(second, cluster=cluster)

    fleet = run(both())

    assert Counter(turn.key[1] for turn in fleet.turns) == dict.fromkeys(NAMES, 1)
    assert fleet.api.faults.sent == 0
    ran("P28")


# -- a long time ----------------------------------------------------------------------------------------------

ROUNDS, CHANGES = 3, 350
PER_SECOND = 50 / 60
MEMORIES = {"Cache._gone": 300, "Recorder._told": 5}  # of what is past, each with a bound, lowered for the test
FEW = 6


@pytest.fixture
def short_memories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidegate.cluster.seen, "REMEMBERED_DELETIONS", MEMORIES["Cache._gone"])
    monkeypatch.setattr(tidegate.cluster.events, "REMEMBERED", MEMORIES["Recorder._told"])


def changes(fleet: Fleet, first: int) -> Iterator[None]:
    """A few deployments at a time, whose names never come again: each is made, changed, damaged and deleted."""
    ages: dict[str, int] = {}
    made = first
    while True:
        if len(ages) < FEW:
            made += 1
            name = f"model-{made}"
            ages[name] = 0
        else:
            name = list(ages)[made % FEW]
            ages[name] += 1
            made += ages[name] % 3 == 0
        age = ages[name]
        if age >= 6:
            del ages[name]
            fleet.users.delete(MODEL_DEPLOYMENT, HERE, name)
        elif age == 3 and fleet.cluster.find(SERVICE, HERE, name):
            fleet.users.delete(SERVICE, HERE, name)
        elif age == 4:
            for obj in fleet.cluster.listed(DEPLOYMENT, HERE, f"serving.tidegate.io/deployment={name}"):
                fleet.users.scale(DEPLOYMENT, HERE, obj["metadata"]["name"], 0)
        else:
            version = ("v1", "v2", "none")[age % 3]
            fleet.users.deploy(name, spec_of(version, rollout={"steps": [], "scaleDownDelay": "0s"}), HERE)
        yield


async def lives(fleet: Fleet, sizes: list[dict[str, int]]) -> None:
    for version in ("v1", "v2"):
        fleet.world.bundles[STORE + version] = bundle(STORE + version, golden=0)
    for number in range(ROUNDS):
        change = changes(fleet, number * CHANGES)
        for count in range(CHANGES):
            if count % 25 == 0:
                fleet.api.faults.fail(any_write, ("503", "409", "timeout", "403")[count // 25 % 4], times=2)
            next(change)
            await asyncio.sleep(1 / PER_SECOND)
        for obj in fleet.cluster.listed(MODEL_DEPLOYMENT, HERE):
            fleet.users.delete(MODEL_DEPLOYMENT, HERE, obj["metadata"]["name"])
        await asyncio.sleep(600)
        sizes.append(fleet.tables())


@pytest.mark.usefixtures("short_memories")
def test_after_a_thousand_changes_and_all_that_follows_no_more_is_remembered_than_after_some() -> None:
    sizes: list[dict[str, int]] = []

    fleet = run(Fleet.told(lambda fleet: lives(fleet, sizes), controllers=True))

    assert len(fleet.turns) > ROUNDS * CHANGES
    assert fleet.tables().keys() >= {"Reconciler._memories", "WorkQueue._timers", "WorkQueue._failures", "Cache._held"}
    for before, after in pairwise(sizes):
        assert after == before
    assert {name: size for name, size in sizes[-1].items() if size} == MEMORIES
    ran("P29")
