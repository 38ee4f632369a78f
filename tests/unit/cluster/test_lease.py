"""The lease in virtual time: what the elector believes, against who could have taken it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.cluster.virtual_time import now, run

from tidegate.cluster import lease
from tidegate.cluster.errors import AlreadyExists, ApiDown, Conflict, NotFound
from tidegate.cluster.lease import Elector, Held, Times, timestamp, uptime, wall

Spec = Mapping[str, Any]


@dataclass
class Store:
    """A Lease with compare-and-swap, and the ways in which a server can fail."""

    held: Held | None = None
    trouble: Callable[[str], Awaitable[None]] | None = None  # called before each request
    deaf: bool = False  # writes take effect, and their answers never come
    writes: list[tuple[float, str]] = field(default_factory=list)
    requests: int = 0
    version: int = 7  # of the whole server: never the same twice

    async def read(self) -> Held | None:
        await self._asked("read")
        return self.held

    async def create(self, spec: Spec) -> Held:
        await self._asked("create")
        if self.held:
            raise AlreadyExists("there is one")
        return await self._keep(spec)

    async def replace(self, spec: Spec, version: str) -> Held:
        await self._asked("replace")
        if self.held is None:
            raise NotFound("there is none")
        if self.held.version != version:
            raise Conflict("it has changed")
        return await self._keep(spec)

    def write(self, holder: str, seconds: int = 15) -> None:
        """Somebody else's write."""
        self._set({"holderIdentity": holder, "leaseDurationSeconds": seconds})

    async def _asked(self, what: str) -> None:
        self.requests += 1
        if self.trouble:
            await self.trouble(what)

    def _set(self, spec: Spec) -> Held:
        self.version += 1
        self.held = Held(str(self.version), dict(spec))
        return self.held

    async def _keep(self, spec: Spec) -> Held:
        held = self._set(spec)
        self.writes.append((now(), held.holder))
        if self.deaf:
            await hang("")
        return held


async def hang(_: str) -> None:
    await asyncio.sleep(1_000_000)


async def fail(_: str) -> None:
    raise ApiDown("the API server is down")


async def stubborn(_: str) -> None:
    """Hangs, and cannot even be cancelled."""
    end = now() + 100
    while now() < end:
        try:
            await asyncio.sleep(end - now())
        except asyncio.CancelledError:
            continue


def elector(store: Store, name: str = "me", **options: Any) -> Elector:
    return Elector(store, name, clock=options.pop("clock", now), **options)


async def leading(store: Store, name: str = "me") -> Elector:
    found = elector(store, name)
    await found.acquire()
    return found


async def lost_after(one: Elector) -> float:
    began = now()
    async with asyncio.timeout(3600):
        await one.lost.wait()
    return now() - began


# -- taking it


def test_a_lease_that_does_not_exist_is_made_and_taken_at_once() -> None:
    async def story() -> tuple[float, Spec]:
        store = Store()
        await leading(store)
        assert store.held
        return now(), store.held.spec

    at, spec = run(story())

    assert at == 0
    assert spec["holderIdentity"] == "me"
    assert spec["leaseDurationSeconds"] == 15
    assert spec["renewTime"].endswith("Z")


def test_a_lease_that_was_handed_over_is_taken_within_two_seconds() -> None:
    async def story() -> float:
        store = Store()
        first = await leading(store, "first")
        standby = asyncio.create_task(leading(store, "second"))
        await asyncio.sleep(60)
        began = now()
        await first.release()
        await standby
        return now() - began

    assert run(story()) <= 2


def test_a_lease_whose_holder_died_is_taken_after_its_time_and_not_before() -> None:
    async def story() -> float:
        store = Store()
        store.write("dead")
        await leading(store)
        return now()

    assert 15 <= run(story()) <= 17


def test_a_lease_that_is_renewed_is_never_taken() -> None:
    async def story() -> list[str]:
        store = Store()
        await leading(store, "first")
        standby = asyncio.create_task(leading(store, "second"))
        await asyncio.sleep(3600)
        standby.cancel()
        return [holder for _, holder in store.writes]

    assert set(run(story())) == {"first"}


def test_times_written_in_a_lease_decide_nothing() -> None:
    """The clock of whoever wrote them may be a year off."""

    async def story() -> float:
        store = Store(Held("7", {
            "holderIdentity": "dead", "leaseDurationSeconds": 15, "renewTime": "2031-01-01T00:00:00.000000Z",
        }))  # fmt: skip
        await leading(store)
        return now()

    assert 15 <= run(story()) <= 17


def test_our_own_name_in_the_lease_is_no_reason_to_take_it() -> None:
    """After a restart under a fixed name, the process before may still be writing."""

    async def story() -> float:
        store = Store()
        store.write("me")
        await leading(store)
        return now()

    assert run(story()) >= 15


def test_an_own_write_whose_answer_never_came_is_known_again() -> None:
    async def story() -> float:
        store = Store(deaf=True)
        one = elector(store)
        taking = asyncio.create_task(one.acquire())
        await asyncio.sleep(1)
        store.deaf = False
        await taking
        return now()

    assert run(story()) < 6


def test_odd_leases_are_waited_out() -> None:
    async def story() -> float:
        store = Store(Held("1", {"holderIdentity": "odd", "leaseDurationSeconds": None}))
        await leading(store)
        return now()

    assert 15 <= run(story()) <= 17


@pytest.mark.parametrize("trouble", [hang, fail])
def test_a_server_in_trouble_is_asked_until_it_answers(trouble: Callable[[str], Awaitable[None]]) -> None:
    async def story() -> float:
        store = Store(trouble=trouble)
        taking = asyncio.create_task(leading(store))
        await asyncio.sleep(60)
        store.trouble = None
        await taking
        return now()

    assert 60 <= run(story()) < 66


def test_of_two_that_want_it_at_once_one_gets_it() -> None:
    async def story() -> int:
        store = Store()
        tasks = [asyncio.create_task(leading(store, name)) for name in ("a", "b", "c")]
        await asyncio.sleep(30)
        for task in tasks:
            task.cancel()
        return sum(task.done() and not task.cancelled() for task in tasks)

    assert run(story()) == 1


# -- keeping it


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
    trouble: Callable[[str], Awaitable[None]],
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


# -- handing it over


def test_a_release_in_the_middle_of_a_renewal_hands_over_all_the_same() -> None:
    async def story() -> tuple[str, float]:
        store = Store()
        one = await leading(store)
        store.deaf = True
        await asyncio.sleep(2.5)  # the renewal has taken effect, its answer hangs
        store.deaf = False
        began = now()
        await one.release()
        assert store.held
        return store.held.holder, now() - began

    holder, took = run(story())

    assert holder == ""
    assert took <= 2


@pytest.mark.parametrize("trouble", [hang, fail])
def test_a_release_that_nobody_hears_does_not_hold_up_the_end(trouble: Callable[[str], Awaitable[None]]) -> None:
    async def story() -> float:
        store = Store()
        one = await leading(store)
        store.trouble = trouble
        await one.release()
        return now()

    assert run(story()) <= 2


def test_after_a_release_nothing_may_be_written_and_nothing_is_renewed() -> None:
    async def story() -> tuple[bool, bool, int]:
        store = Store()
        one = await leading(store)
        await one.release()
        before = store.requests
        await asyncio.sleep(60)
        return one.holds(), one.lost.is_set(), store.requests - before

    assert run(story()) == (False, False, 0)


def test_a_lease_that_another_holds_is_not_released() -> None:
    async def story() -> str:
        store = Store()
        one = await leading(store)
        store.write("thief")
        await one.release()
        assert store.held
        return store.held.holder

    assert run(story()) == "thief"


def test_who_never_asked_for_it_has_nothing_to_release() -> None:
    async def story() -> int:
        store = Store()
        await elector(store).release()
        return store.requests

    assert run(story()) == 0


def test_who_is_interrupted_while_taking_it_hands_it_over() -> None:
    async def story() -> str:
        store = Store(deaf=True)
        one = elector(store)
        taking = asyncio.create_task(one.acquire())
        await asyncio.sleep(1)
        taking.cancel()
        store.deaf = False
        await one.release()
        assert store.held
        return store.held.holder

    assert run(story()) == ""


# -- what others see


def test_who_leads_and_is_stuck_is_overdue() -> None:
    async def story() -> tuple[bool, bool]:
        passed = 0.0
        one = elector(Store(), clock=lambda: now() + passed)
        await one.acquire()
        fine = one.overdue()
        passed = 11.0
        return fine, one.overdue()

    assert run(story()) == (False, True)


def test_the_number_of_changes_of_hands_is_counted() -> None:
    async def story() -> list[int]:
        store, counts = Store(), []
        for name in ("a", "b"):
            one = await leading(store, name)
            assert store.held
            counts.append(store.held.spec["leaseTransitions"])
            await one.release()
        return counts

    assert run(story()) == [0, 1]


def test_times_are_written_as_the_api_wants_them() -> None:
    assert len(timestamp(wall())) == len("2026-01-01T00:00:00.000000Z")


def test_the_times_leave_room_between_one_writer_and_the_next() -> None:
    times = Times()

    assert times.renew + times.request < times.deadline
    assert times.deadline + times.request < times.lease
