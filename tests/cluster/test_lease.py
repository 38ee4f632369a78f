"""The lease on a real API server: two electors, one of which ends well, badly, or is robbed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from tests.cluster.connecting import connection_to, run
from tests.control_plane.plane import Plane

from tidegate.cluster.kube import KubeLease
from tidegate.cluster.lease import Elector, Times

T = TypeVar("T")
NAME = "tidegate-operator"
QUICK = Times(lease=3.0, deadline=2.0, renew=0.3, request=0.5, release=1.0)


@asynccontextmanager
async def elector(plane: Plane, namespace: str, name: str, times: Times = QUICK) -> AsyncIterator[Elector]:
    async with connection_to(plane) as connection:
        found = Elector(KubeLease(connection, namespace, NAME), name, times)
        try:
            yield found
        finally:
            await found.release()


def told(plane: Plane, namespace: str, story: Callable[[Elector, Elector], Awaitable[T]], times: Times = QUICK) -> T:
    """A story of two electors for one lease."""

    async def main() -> T:
        async with elector(plane, namespace, "first", times) as first, elector(plane, namespace, "second") as second:
            async with asyncio.timeout(60):
                return await story(first, second)

    return run(main())


def test_a_lease_is_made_taken_and_renewed(control_plane: Plane, namespace: str) -> None:
    async def story(first: Elector, second: Elector) -> str:
        await first.acquire()
        made = control_plane.client.read("leases", namespace, NAME)["spec"]
        await asyncio.to_thread(
            control_plane.client.until,
            "leases",
            namespace,
            NAME,
            lambda one: one["spec"]["renewTime"] > made["renewTime"],
        )
        assert first.holds()
        return str(made["holderIdentity"])

    assert told(control_plane, namespace, story) == "first"


def test_a_standby_takes_over_at_once_when_it_is_handed_over(control_plane: Plane, namespace: str) -> None:
    """With the real times: the hand-over takes no more than two seconds."""

    async def story(first: Elector, second: Elector) -> float:
        await first.acquire()
        standby = asyncio.create_task(second.acquire())
        began = time.monotonic()
        await first.release()
        await standby
        return time.monotonic() - began

    assert told(control_plane, namespace, story, Times()) <= 2
    assert control_plane.client.read("leases", namespace, NAME)["spec"]["leaseTransitions"] == 1


def test_a_leader_that_falls_silent_is_followed_after_its_time(control_plane: Plane, namespace: str) -> None:
    async def story(first: Elector, second: Elector) -> float:
        await first.acquire()
        assert first._renewing
        first._renewing.cancel()
        began = time.monotonic()
        await second.acquire()
        assert not first.holds()
        return time.monotonic() - began

    assert 2.5 <= told(control_plane, namespace, story) <= 6


def test_a_lease_that_somebody_takes_by_force_is_lost(control_plane: Plane, namespace: str) -> None:
    async def story(first: Elector, second: Elector) -> bool:
        await first.acquire()
        change = {"spec": {"holderIdentity": "thief"}}
        await asyncio.to_thread(control_plane.client.patch, "leases", namespace, NAME, change)
        await first.lost.wait()
        return first.holds()

    assert told(control_plane, namespace, story) is False
    assert control_plane.client.read("leases", namespace, NAME)["spec"]["holderIdentity"] == "thief"


def test_a_deleted_lease_is_made_again(control_plane: Plane, namespace: str) -> None:
    async def story(first: Elector, second: Elector) -> bool:
        await first.acquire()
        await asyncio.to_thread(control_plane.client.delete, "leases", namespace, NAME)
        await asyncio.to_thread(control_plane.client.until, "leases", namespace, NAME, bool)
        return first.holds()

    assert told(control_plane, namespace, story)


def test_of_two_that_begin_at_once_one_leads(control_plane: Plane, namespace: str) -> None:
    async def story(first: Elector, second: Elector) -> list[bool]:
        tasks = [asyncio.create_task(one.acquire()) for one in (first, second)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(tasks, timeout=1.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return sorted((first.holds(), second.holds()))

    assert told(control_plane, namespace, story) == [False, True]
