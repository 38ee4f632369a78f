"""Calls that wait before they are looked at, because too many are called."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.runtime.test_grpc_stream import (
    DEADLINE_EXCEEDED,
    MEGABYTE,
    METHODS,
    PATIENCE,
    RESOURCE_EXHAUSTED,
    Calls,
    after,
    message,
)

from tidegate_runtime.backpressure import MOST_KEPT, MOST_OF_ALL, Backpressure
from tidegate_runtime.grpc_calls import Call, Method
from tidegate_runtime.grpc_stream import PREFIX, GrpcStream, asked
from tidegate_runtime.http2 import frames
from tidegate_runtime.http2.connection import Connection
from tidegate_runtime.http2.heads import Head
from tidegate_runtime.http2.stream import Stream

OK = "0"


class Somebody:
    """In the line before us."""

    def let_in(self, first: bytes, since: float) -> None:
        """Asks for nothing."""


class Crowded(Calls):
    """A connection to a server with a full queue, whose refusals at once are spent."""

    def __init__(self) -> None:
        super().__init__()
        self.admission.queued = 1
        while not self.pressure.holds(Somebody()):
            pass
        self.transport.frames()

    def _begin(self, connection: Connection, number: int, head: Head) -> Stream:
        methods = {**METHODS, "/run": Method(self._run, admit=self._admit, waits=True)}
        self.calls.append(GrpcStream(connection, number, head, asked(head, methods), self.limits, self.pressure))
        return self.calls[-1]

    def _admit(self, _: Call) -> None:
        if self.admission.full:
            raise self.admission.refuse(0.0)

    def _run(self, call: Call, raw: bytes | memoryview) -> None:
        self.ran = bytes(raw), call.waited
        call.answer(b"answer")

    def look(self, *, queued: int = 0) -> None:
        """The server looks at who waits, while so many are queued."""
        self.admission.queued = queued
        self.pressure._look()


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Crowded:
    monkeypatch.setattr(Backpressure, "_look_soon", lambda _: None)
    return Crowded()


def test_a_call_that_found_no_room_is_answered_when_there_is_some(line: Crowded) -> None:
    line.call(1, "/run")
    line.data(1, message(b"question"), frames.END_STREAM)
    assert line.statuses() == []
    assert line.admission.unread == 2

    line.look()
    line.look()

    assert line.statuses() == [OK]
    assert line.ran[0] == b"question"
    assert line.ran[1] > 0
    assert line.admission.unread == 0


def test_a_call_that_is_let_in_before_its_message_has_come_gets_it_afterwards(line: Crowded) -> None:
    line.call(1, "/run", message(b"question")[:7])
    line.look()
    line.look()
    assert line.statuses() == []

    line.data(1, message(b"question")[7:], frames.END_STREAM)

    assert line.statuses() == [OK]


def test_others_of_the_same_connection_are_answered_meanwhile(line: Crowded) -> None:
    line.call(1, "/run")
    line.call(3, "/one")
    line.data(3, message(b"question"), frames.END_STREAM)

    assert line.statuses() == [OK]


def test_whoever_has_waited_long_enough_is_refused_in_order(line: Crowded, monkeypatch: pytest.MonkeyPatch) -> None:
    line.call(1, "/run")
    line.data(1, message(b"question"), frames.END_STREAM)
    later = after(PATIENCE + 1)
    monkeypatch.setattr("tidegate_runtime.backpressure.time.monotonic", lambda: later)

    line.look(queued=1)

    assert line.statuses() == [RESOURCE_EXHAUSTED]


def test_the_rest_of_a_long_message_is_not_asked_for_before_its_call_is_let_in(line: Crowded) -> None:
    line.call(1, "/run", PREFIX.pack(0, MEGABYTE))
    assert line.let_in() == []

    line.look()
    line.look()

    assert line.let_in() == [1]
    assert line.calls[-1].window == MEGABYTE
    for _ in range(MEGABYTE // frames.LARGEST_FRAME - 1):
        line.data(1, bytes(frames.LARGEST_FRAME))
    line.data(1, bytes(frames.LARGEST_FRAME), frames.END_STREAM)
    assert line.statuses() == [OK]


def test_a_call_whose_own_time_is_up_while_it_waits_ends(line: Crowded) -> None:
    fields = [(":method", "POST"), (":scheme", "http"), (":path", "/run"), ("content-type", "application/grpc")]
    line.head(1, [*fields, ("grpc-timeout", "1S")])
    line.data(1, message(b"question"), frames.END_STREAM)

    line.connection.sweep(after(2))
    assert line.statuses() == [DEADLINE_EXCEEDED]

    line.look()
    line.look()
    assert line.statuses() == []
    assert not hasattr(line, "ran")


@pytest.mark.parametrize("end", ["let in", "reset", "gone"])
def test_what_is_kept_of_those_who_wait_is_counted_until_they_do_not(line: Crowded, end: str) -> None:
    line.call(1, "/run")
    line.data(1, message(bytes(1000))[:900])
    line.data(1, bytes(105))
    assert kept(line) == 1005

    if end == "let in":
        line.look()
        line.look()
    elif end == "reset":
        line.reset(1)
    else:
        line.connection.connection_lost(None)

    assert kept(line) == 0


def test_when_those_who_wait_keep_too_much_the_next_to_send_is_refused(line: Crowded) -> None:
    line.pressure.keep(MOST_OF_ALL)
    line.call(1, "/run")
    line.data(1, message(b"first"))
    line.call(3, "/run")
    line.data(3, message(b"second"))

    assert line.statuses() == [RESOURCE_EXHAUSTED]
    assert kept(line) == MOST_OF_ALL + 10
    line.reset(1)
    assert kept(line) == MOST_OF_ALL
    for _ in range(3):
        line.look()
    assert line.statuses() == []


def test_when_they_keep_too_much_and_there_is_room_by_now_the_next_to_send_goes_on(line: Crowded) -> None:
    line.pressure.keep(MOST_OF_ALL + 1)
    line.call(1, "/run")
    line.admission.queued = 0
    line.data(1, message(b"question"), frames.END_STREAM)

    for _ in range(3):
        line.look()

    assert line.statuses() == [OK]


@pytest.mark.parametrize("end", ["let in", "reset"])
def test_when_they_keep_much_no_more_is_read_of_a_connection_until_its_calls_do_not_wait(
    line: Crowded, end: str
) -> None:
    line.pressure.keep(MOST_KEPT)
    line.call(1, "/run", message(b"first"))
    line.call(3, "/run", message(b"second"))
    assert not line.transport.reading

    line.connection.pause_writing()
    line.connection.resume_writing()
    assert not line.transport.reading

    if end == "let in":
        for _ in range(3):
            line.look()
    else:
        line.reset(1)
        assert not line.transport.reading
        line.reset(3)

    assert line.transport.reading


def test_a_client_that_is_not_read_is_neither_asked_whether_it_lives_nor_hurried(line: Crowded) -> None:
    line.pressure.keep(MOST_KEPT)
    line.call(1, "/run", message(b"first"))
    line.receive(frames.frame(frames.HEADERS, 0, 3, b""))
    line.transport.frames()

    for minutes in range(1, 5):
        line.connection.sweep(after(60.0 * minutes))

    assert line.transport.frames() == []
    assert not line.transport.aborted


def kept(line: Crowded) -> Any:
    return line.pressure._kept
