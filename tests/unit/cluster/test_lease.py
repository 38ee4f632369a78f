"""The lease in virtual time: taking it, and handing it over."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.cluster.lease_store import Spec, Store, Trouble, elector, fail, hang, leading, stubborn
from tests.unit.cluster.virtual_time import now, run

from tidegate.cluster.lease import Held, Times, timestamp, wall

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


def test_a_lease_that_somebody_deletes_is_left_to_who_had_it() -> None:
    """It still writes: it learns of the deletion with its next renewal."""

    async def story() -> list[str]:
        store = Store()
        await leading(store, "first")
        standby = asyncio.create_task(leading(store, "second"))
        for seconds in range(60, 70):
            await asyncio.sleep(seconds + 0.1)
            store.held = None
        await asyncio.sleep(60)
        standby.cancel()
        return [holder for _, holder in store.writes]

    assert set(run(story())) == {"first"}


def test_a_deleted_lease_that_nobody_makes_again_is_taken_after_its_time() -> None:
    async def story() -> float:
        store = Store()
        store.write("dead")
        taking = asyncio.create_task(leading(store))
        await asyncio.sleep(5)
        store.held = None
        await taking
        return now()

    assert 15 <= run(story()) <= 17


def test_odd_leases_are_waited_out() -> None:
    async def story() -> float:
        store = Store(Held("1", {"holderIdentity": "odd", "leaseDurationSeconds": None}))
        await leading(store)
        return now()

    assert 15 <= run(story()) <= 17


@pytest.mark.parametrize("trouble", [hang, fail])
def test_a_server_in_trouble_is_asked_until_it_answers(trouble: Trouble) -> None:
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
def test_a_release_that_nobody_hears_does_not_hold_up_the_end(trouble: Trouble) -> None:
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


def test_a_renewal_that_cannot_be_interrupted_does_not_make_us_lead_again() -> None:
    async def story() -> bool:
        store = Store()
        one = await leading(store)
        store.trouble = stubborn
        await asyncio.sleep(3)
        await one.release()
        await asyncio.sleep(200)
        return one.holds()

    assert run(story()) is False


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


def test_a_lease_is_handed_over_once_and_a_silent_server_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> float:
        store = Store()
        one = await leading(store)
        store.trouble = hang
        began = now()
        await one.release()
        await one.release()
        return now() - began

    assert run(story()) <= 2
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "the lease runs out by itself: it could not be handed over: no answer in time"
    ]
