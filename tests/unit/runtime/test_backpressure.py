"""Who is read while the queue is full: a few are refused at once, the others wait in line and are not read."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from tidegate_runtime.admission import Admission
from tidegate_runtime.backpressure import BURST, REFUSALS_A_SECOND, Backpressure

PATIENCE = 0.2
ENDS = 5.0


@dataclass
class Waiting:
    """A connection; let in, it puts its request into the queue if there is room."""

    name: int
    admission: Admission
    order: list[int]
    let: asyncio.Event = field(default_factory=asyncio.Event)

    def let_in(self) -> None:
        self.order.append(self.name)
        if not self.admission.full:
            self.admission.queued += 1
        self.let.set()


def full(limit: int = 2) -> Admission:
    admission = Admission(limit)
    admission.queued = limit
    return admission


def test_nobody_is_asked_about_while_there_is_room() -> None:
    assert not Backpressure(Admission(1), PATIENCE).on


def test_refusals_are_as_many_a_second_as_they_may_be_and_a_burst_at_first() -> None:
    pressure, began = Backpressure(full(), PATIENCE), time.monotonic() + 1

    at_once = sum(not pressure.holds(began) for _ in range(1000))
    in_the_next_tenth = sum(not pressure.holds(began + 0.1) for _ in range(1000))

    assert at_once == BURST
    assert in_the_next_tenth in (int(REFUSALS_A_SECOND / 10), int(REFUSALS_A_SECOND / 10) - 1)


def test_who_waits_unread_is_let_in_in_order_as_there_is_room() -> None:
    async def scenario() -> tuple[list[int], list[int], int]:
        admission, order = full(2), list[int]()
        pressure = Backpressure(admission, 60.0)
        line = [Waiting(name, admission, order) for name in range(4)]
        for one in line:
            pressure.wait(one, time.monotonic())
        admission.queued = 0
        await asyncio.wait_for(line[1].let.wait(), ENDS)
        first, unread = list(order), admission.unread
        admission.queued = 1
        await asyncio.wait_for(line[2].let.wait(), ENDS)
        return first, order, unread

    first, order, unread = asyncio.run(scenario())

    assert first == [0, 1]
    assert unread == 2
    assert order == [0, 1, 2]


def test_a_newcomer_waits_behind_those_who_wait_already() -> None:
    async def scenario() -> bool:
        admission = full(1)
        pressure = Backpressure(admission, 60.0)
        pressure.wait(Waiting(0, admission, []), time.monotonic())
        admission.queued = 0
        return pressure.on and pressure.holds(time.monotonic())

    assert asyncio.run(scenario())


def test_whoever_has_waited_as_long_as_the_queue_allows_is_let_in_to_be_refused() -> None:
    async def scenario() -> float:
        admission = full()
        pressure = Backpressure(admission, PATIENCE)
        one, began = Waiting(0, admission, []), time.monotonic()
        pressure.wait(one, began)
        await asyncio.wait_for(one.let.wait(), ENDS)
        assert not pressure.on or admission.full
        assert admission.queued == 2
        return time.monotonic() - began

    assert asyncio.run(scenario()) >= PATIENCE
