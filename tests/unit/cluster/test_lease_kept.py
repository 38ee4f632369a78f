"""The lease in virtual time: keeping it, losing it, and clocks that jump."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.unit.cluster.lease_store import Store, Trouble, elector, fail, hang, leading, lost_after, stubborn
from tests.unit.cluster.virtual_time import now, run

from tidegate.cluster import lease
from tidegate.cluster.lease import Held, uptime, wall


def test_it_is_renewed_every_two_seconds() -> None:
    async def story() -> int:
        store = Store()
        await leading(store)
        await asyncio.sleep(100)
        return len(store.writes)

    assert 48 <= run(story()) <= 51


def test_a_single_failure_is_nothing() -> None:
    async def story() -> bool:
        store = Store()
        one = await leading(store)
        store.trouble = fail
        await asyncio.sleep(3)
        store.trouble = None
        await asyncio.sleep(60)
        return one.holds()

    assert run(story())


@pytest.mark.parametrize("trouble", [hang, fail, stubborn])
def test_when_nothing_is_confirmed_it_is_lost_before_others_may_take_it(
    trouble: Trouble,
) -> None:
    async def story() -> tuple[float, float]:
        store = Store()
        one = await leading(store)
        await asyncio.sleep(20)
        store.trouble = trouble
        lost = await lost_after(one)
        return lost, one.left()

    lost, left = run(story())

    assert 8 <= lost <= 10
    assert left == 0


def test_a_standby_takes_over_only_after_the_old_leader_has_given_up() -> None:
    """The old leader's connection is dead, the standby's is fine: the gap between the two is five seconds."""

    async def story() -> float:
        store, cut_off = Store(), Store()
        first = await leading(store, "first")
        standby = asyncio.create_task(leading(store, "second"))
        await asyncio.sleep(30)
        cut_off.trouble = hang
        first._store = cut_off
        await first.lost.wait()
        lost = now()
        assert not standby.done()
        await standby
        return now() - lost

    assert run(story()) >= 3


def test_a_renewal_that_took_effect_unheard_loses_nothing() -> None:
    async def story() -> bool:
        store = Store()
        one = await leading(store)
        store.deaf = True
        await asyncio.sleep(4)
        store.deaf = False
        await asyncio.sleep(60)
        return one.holds()

    assert run(story())


def test_an_answer_that_took_long_does_not_make_the_lease_longer() -> None:
    async def slow(_: str) -> None:
        await asyncio.sleep(2.5)

    async def story() -> float:
        store = Store(trouble=slow)
        one = await leading(store)
        return one.left()

    assert run(story()) == pytest.approx(15 - 2.5)


def test_a_stolen_lease_is_lost_at_the_next_renewal() -> None:
    async def story() -> float:
        store = Store()
        one = await leading(store)
        await asyncio.sleep(10)
        store.write("thief")
        return await lost_after(one)

    assert run(story()) <= 2


def test_a_deleted_lease_is_made_again() -> None:
    async def story() -> tuple[bool, Held | None]:
        store = Store()
        one = await leading(store)
        store.held = None
        await asyncio.sleep(30)
        return one.holds(), store.held

    holds, held = run(story())

    assert holds
    assert held
    assert held.holder == "me"


def test_a_deleted_lease_that_another_makes_first_is_lost() -> None:
    async def story() -> float:
        store = Store()
        one = await leading(store)
        store.held = None
        store.write("quick")
        return await lost_after(one)

    assert run(story()) <= 2


def test_what_is_lost_stays_lost() -> None:
    async def story() -> tuple[bool, int]:
        store = Store()
        one = await leading(store)
        store.write("thief")
        await one.lost.wait()
        store.write("")
        before = store.requests
        await asyncio.sleep(600)
        return one.holds(), store.requests - before

    assert run(story()) == (False, 0)


# -- clocks


def test_after_a_pause_of_the_whole_process_nothing_may_be_written() -> None:
    """SIGSTOP, or a suspended machine: the first thing that runs afterwards asks, and no timer has fired yet."""

    async def story() -> tuple[float, float]:
        passed = 0.0
        store = Store()
        one = elector(store, clock=lambda: now() + passed)
        await one.acquire()
        before = one.left()
        passed = 20.0
        return before, one.left()

    assert run(story()) == (15, 0)


def test_after_such_a_pause_it_is_lost_without_asking_anybody() -> None:
    async def story() -> tuple[float, int]:
        passed = 0.0
        store = Store()
        one = elector(store, clock=lambda: now() + passed)
        await one.acquire()
        await asyncio.sleep(1)
        passed, before = 20.0, store.requests
        return await lost_after(one), store.requests - before

    lost, requests = run(story())

    assert lost <= 2
    assert requests == 0


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_wall_clock_that_jumps_changes_nothing(jump: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> bool:
        one = await leading(Store())
        monkeypatch.setattr(lease, "wall", lambda: wall() + timedelta(seconds=jump))
        await asyncio.sleep(120)
        return one.holds()

    assert run(story())


def test_the_clock_in_use_only_goes_forward() -> None:
    assert uptime() <= uptime()
