"""Who is read while the queue is full: a few are refused at once, the others wait in line and are not read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest
from tests.unit.runtime.test_parsers import FakeTransport, feed

from tidegate_runtime import backpressure, http
from tidegate_runtime.admission import Admission
from tidegate_runtime.backpressure import BURST, POST, REFUSALS_A_SECOND, Backpressure
from tidegate_runtime.errors import Throttled
from tidegate_runtime.http import Connection
from tidegate_runtime.request import SCRATCH, Front, Limits, Request
from tidegate_runtime.routes import Route

PATIENCE = 0.2
ENDS = 5.0


@dataclass
class Waiting:
    """A connection; let in, it puts its request into the queue if there is room."""

    name: int
    admission: Admission
    order: list[int]
    let: asyncio.Event = field(default_factory=asyncio.Event)

    def let_in(self, first: bytes, since: float) -> None:
        assert first == POST
        self.order.append(self.name)
        if not self.admission.full:
            self.admission.queued += 1
        self.let.set()


def full(limit: int = 2) -> Admission:
    admission = Admission(limit)
    admission.queued = limit
    return admission


def stand_in_line(pressure: Backpressure, one: Waiting) -> None:
    """Ask until the refusals are spent."""
    while not pressure.holds_back(one, memoryview(POST)):
        pass


def connected(pressure: Backpressure, route: Callable[[Request], Route]) -> tuple[Connection, FakeTransport]:
    limits = Limits(max_body=1 << 20, header_timeout=1, body_timeout=1, idle_timeout=1)
    front = Front(limits, route, lambda _: True, lambda _: None, pressure)
    connection, transport = Connection(front), FakeTransport()
    connection.connection_made(cast("asyncio.BaseTransport", transport))
    return connection, transport


def test_nobody_is_asked_about_while_there_is_room() -> None:
    assert not Backpressure(Admission(1), PATIENCE).on


def test_refusals_are_as_many_a_second_as_they_may_be_and_a_burst_at_first() -> None:
    async def scenario() -> tuple[int, float]:
        admission, began = full(), time.monotonic()
        pressure = Backpressure(admission, 60.0)
        held = [pressure.holds_back(Waiting(0, admission, []), memoryview(POST)) for _ in range(1000)]
        return held.count(False), time.monotonic() - began

    refused, seconds = asyncio.run(scenario())

    assert BURST <= refused <= BURST + REFUSALS_A_SECOND * seconds


def test_what_is_no_inference_never_waits() -> None:
    pressure = Backpressure(full(), PATIENCE)

    assert not pressure.holds_back(Waiting(0, full(), []), memoryview(b"GET /"))


def test_who_waits_unread_is_let_in_in_order_as_there_is_room() -> None:
    async def scenario() -> tuple[list[int], list[int], int]:
        admission, order = full(2), list[int]()
        pressure = Backpressure(admission, 60.0)
        line = [Waiting(name, admission, order) for name in range(4)]
        for one in line:
            stand_in_line(pressure, one)
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
        stand_in_line(pressure, Waiting(0, admission, []))
        admission.queued = 0
        return pressure.on and pressure.holds_back(Waiting(1, admission, []), memoryview(POST))

    assert asyncio.run(scenario())


def test_whoever_has_waited_as_long_as_the_queue_allows_is_let_in_to_be_refused() -> None:
    async def scenario() -> float:
        admission = full()
        pressure = Backpressure(admission, PATIENCE)
        one, began = Waiting(0, admission, []), time.monotonic()
        stand_in_line(pressure, one)
        await asyncio.wait_for(one.let.wait(), ENDS)
        assert admission.unread == 0
        assert admission.queued == 2
        return time.monotonic() - began

    assert asyncio.run(scenario()) >= PATIENCE


def echoing(pressure: Backpressure) -> tuple[Connection, FakeTransport]:
    """A connection whose requests are answered with their bodies."""

    def answer(connection: Connection, request: Request) -> None:
        connection.answer(200, bytes(request.body))

    def route(request: Request) -> Route:
        request.route = found = Route({b"POST": answer})
        return found

    return connected(pressure, route)


async def until_let_in(pressure: Backpressure, admission: Admission) -> None:
    """Until all are let in who wait already."""
    last = Waiting(0, admission, [])
    stand_in_line(pressure, last)
    admission.queued = 0
    await asyncio.wait_for(last.let.wait(), ENDS)


SMALL = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nok"
LARGE = b"POST / HTTP/1.1\r\ncontent-length: 100000\r\n\r\n" + b"." * 100_000


@pytest.mark.parametrize(
    ("pieces", "rest", "stays_open"),
    [
        ([SMALL], b"", True),
        ([SMALL[:20], SMALL[20:25]], SMALL[25:], False),
        ([SMALL[:3], SMALL[3:5]], SMALL[5:], False),
        ([LARGE[:SCRATCH]], LARGE[SCRATCH:], False),
    ],
    ids=["whole", "in pieces", "in pieces of its method", "large"],
)
def test_a_request_that_waits_is_answered_whole_and_the_socket_is_left_alone_once_there_is_more_of_it(
    pieces: list[bytes], rest: bytes, stays_open: bool
) -> None:
    async def scenario() -> tuple[bool, bool, bytes]:
        admission = full(3)
        pressure = Backpressure(admission, 60.0)
        stand_in_line(pressure, Waiting(0, admission, []))
        connection, transport = echoing(pressure)
        for piece in pieces:
            feed(connection, piece)
        waiting = transport.reading
        assert transport.written == b""
        await until_let_in(pressure, admission)
        feed(connection, rest)
        return waiting, transport.reading, transport.written

    waiting, after, written = asyncio.run(scenario())

    assert (waiting, after) == (stays_open, True)
    assert written.startswith(b"HTTP/1.1 200")
    assert written.endswith(b"".join([*pieces, rest]).split(b"\r\n\r\n")[1])


def test_of_what_is_refused_at_once_the_rest_is_dropped_in_large_pieces() -> None:
    def refuse(request: Request) -> Route:
        raise Throttled("the queue is full", retry_after=1)

    async def scenario() -> tuple[int, bytes]:
        connection, transport = connected(Backpressure(full(), PATIENCE), refuse)
        feed(connection, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
        return len(connection.get_buffer(-1)), transport.written

    later, written = asyncio.run(scenario())

    assert written.startswith(b"HTTP/1.1 429")
    assert later == SCRATCH


def test_when_those_who_wait_have_sent_much_no_more_than_its_method_is_read_of_another_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backpressure, "MOST_KEPT", len(SMALL))

    async def scenario() -> list[int]:
        admission = full(3)
        pressure = Backpressure(admission, 60.0)
        stand_in_line(pressure, Waiting(0, admission, []))
        connections = [echoing(pressure)[0] for _ in range(3)]
        rooms = [len(connections[0].get_buffer(-1))]
        feed(connections[0], SMALL)
        rooms.append(len(connections[1].get_buffer(-1)))
        await until_let_in(pressure, admission)
        return [*rooms, len(connections[2].get_buffer(-1))]

    assert asyncio.run(scenario()) == [SCRATCH, len(POST), SCRATCH]


def test_a_request_that_waited_unread_has_the_time_of_a_header_once_it_is_let_in() -> None:
    async def scenario() -> bytes:
        admission = full(3)
        pressure = Backpressure(admission, 60.0)
        stand_in_line(pressure, Waiting(0, admission, []))
        connection, transport = connected(pressure, lambda _: Route({}))
        feed(connection, POST)  # and nothing more
        last = Waiting(1, admission, [])
        assert pressure.holds_back(last, memoryview(POST))
        connection.sweep(time.monotonic() + 3600)
        assert transport.written == b""
        admission.queued = 0
        await asyncio.wait_for(last.let.wait(), ENDS)
        connection.sweep(time.monotonic() + 3600)
        return transport.written

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 408")


@dataclass
class Clock:
    """Stands for the module time."""

    now: float

    def monotonic(self) -> float:
        return self.now


def test_of_a_request_its_wait_unread_counts_and_not_how_long_its_body_takes_to_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, arrived = Clock(100.0), list[float]()
    monkeypatch.setattr(http, "time", clock)

    def answer(connection: Connection, request: Request) -> None:
        arrived.append(request.arrived)
        connection.answer(200, b"")

    def route(request: Request) -> Route:
        request.route = found = Route({b"POST": answer})
        return found

    connection, _ = connected(Backpressure(Admission(1), PATIENCE), route)
    connection.let_in(POST, 95.0)
    feed(connection, b"/ HTTP/1.1\r\ncontent-length: 2\r\n\r\n")
    clock.now = 130.0
    feed(connection, b"ok")
    feed(connection, b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nok")

    assert arrived == [125.0, 130.0]
