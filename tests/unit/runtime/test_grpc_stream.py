"""Calls of gRPC on a connection whose client plays with its windows, its messages and its time."""

from __future__ import annotations

import time
from urllib.parse import unquote

import pytest
from hpack import Decoder
from tests.unit.runtime.http2.asking import BODY_SECONDS, Line

from tidegate_runtime.admission import Admission
from tidegate_runtime.backpressure import Backpressure
from tidegate_runtime.errors import BadRequest
from tidegate_runtime.grpc_calls import Call, Method
from tidegate_runtime.grpc_stream import PREFIX, GrpcStream, asked
from tidegate_runtime.http2 import frames
from tidegate_runtime.http2.connection import Connection
from tidegate_runtime.http2.frames import HEADERS, INITIAL_WINDOW_SIZE, RST_STREAM, WINDOW_UPDATE
from tidegate_runtime.http2.heads import Head
from tidegate_runtime.http2.stream import STREAM_WINDOW, Stream

MEGABYTE = 1 << 20
PATIENCE = 60.0
NO_WINDOW = frames.PREFACE + frames.settings({INITIAL_WINDOW_SIZE: 0})
INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED = "3", "4", "8", "12"


def answer_each(call: Call, raw: bytes | memoryview) -> None:
    if raw == b"bad":
        raise BadRequest("no such question")
    call.send(b"answer")


def refuse_at_length(call: Call, raw: bytes | memoryview) -> None:
    raise BadRequest("\U0001f30a" * 100_000)


METHODS = {
    "/one": Method(lambda call, _: call.answer(b"answer")),
    "/long": Method(refuse_at_length),
    "/many": Method(answer_each, many=True, streams=True),
}


class Calls(Line):
    """A connection for the methods above."""

    def __init__(self, hello: bytes = frames.PREFACE + frames.settings({}), max_body: int = MEGABYTE) -> None:
        self.calls: list[GrpcStream] = []
        self.admission = Admission(1)
        self.pressure = Backpressure(self.admission, PATIENCE)
        self._decoder = Decoder()
        super().__init__(hello=hello, max_body=max_body)

    def _begin(self, connection: Connection, number: int, head: Head) -> Stream:
        self.calls.append(GrpcStream(connection, number, head, asked(head, METHODS), self.limits, self.pressure))
        return self.calls[-1]

    def call(self, number: int, path: str, content: bytes = b"", method: str = "POST") -> GrpcStream:
        """Begin a call, with what it sends first."""
        self.head(
            number, [(":method", method), (":scheme", "http"), (":path", path), ("content-type", "application/grpc")]
        )
        if content:
            self.data(number, content)
        return self.calls[-1]

    def let_in(self) -> list[int]:
        """The streams that were given room for their message since the last time."""
        return [found[2] for found in self.transport.frames() if found[0] == WINDOW_UPDATE and found[2]]

    def statuses(self) -> list[str]:
        """How calls have ended since the last time, in the order of their ends."""
        blocks = [
            dict(self._decoder.decode(found[3], raw=True)) for found in self.transport.frames() if found[0] == HEADERS
        ]
        return [fields[b"grpc-status"].decode() for fields in blocks if b"grpc-status" in fields]


def message(content: bytes) -> bytes:
    return PREFIX.pack(0, len(content)) + content


def after(seconds: float) -> float:
    return time.monotonic() + seconds


# -- answers that wait for the client's windows


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"\x01\0\0\0\x05x", UNIMPLEMENTED), (PREFIX.pack(0, 2 * MEGABYTE) + b"x", RESOURCE_EXHAUSTED)],
    ids=["compressed", "too large"],
)
def test_a_message_is_refused_once_while_the_answer_before_it_waits(content: bytes, status: str) -> None:
    line = Calls(NO_WINDOW)
    line.call(1, "/many", message(b"question"))

    line.data(1, content)
    line.data(1, content, frames.END_STREAM)
    line.receive(frames.window_update(1, 1000))

    assert line.statuses() == [status]


def test_a_refusal_that_waits_for_the_clients_windows_stays_the_end_of_its_call() -> None:
    line = Calls(NO_WINDOW)
    line.call(1, "/many", message(b"question") + message(b"bad"))

    line.data(1, message(b"question"), frames.END_STREAM)
    line.receive(frames.window_update(1, 1000))

    assert line.statuses() == [INVALID_ARGUMENT]


def test_what_is_no_call_is_answered_once_though_its_answer_waits() -> None:
    line = Calls(NO_WINDOW)
    stream = line.call(1, "/", method="GET")
    line.data(1, b"", frames.END_STREAM)
    stream.deadline = 0.0

    line.connection.sweep(after(1))
    line.connection.sweep(after(2))
    assert line.transport.kinds() == [HEADERS]

    line.connection.sweep(after(BODY_SECONDS + 1))
    assert line.transport.kinds()[-1] == RST_STREAM


def test_a_long_refusal_fits_a_frame() -> None:
    line = Calls()
    line.call(1, "/long")
    line.data(1, message(b"question"), frames.END_STREAM)

    (found,) = line.transport.frames()

    assert len(found[3]) <= frames.LARGEST_FRAME
    fields = dict(Decoder().decode(found[3], raw=True))
    assert unquote(fields[b"grpc-message"].decode()) == "\U0001f30a" * 1024


# -- room for long messages


@pytest.mark.parametrize("gone", [(5, 1), (1, 5)])
def test_a_call_that_was_reset_while_it_waited_for_room_stands_in_nobodys_way(gone: tuple[int, int]) -> None:
    line = Calls()
    for number, size in ((1, MEGABYTE // 2), (3, MEGABYTE // 2), (5, MEGABYTE), (7, MEGABYTE * 3 // 4)):
        line.call(number, "/one", PREFIX.pack(0, size))
    assert line.let_in() == [1, 3]

    line.reset(gone[0])
    assert line.let_in() == []
    line.reset(gone[1])
    assert line.let_in() == [7]


@pytest.mark.parametrize("path", ["/one", "/many"])
def test_a_call_that_was_reset_keeps_no_memory(path: str) -> None:
    line = Calls()
    line.call(1, "/one", PREFIX.pack(0, MEGABYTE))
    stream = line.call(3, path, PREFIX.pack(0, MEGABYTE // 4 - 5) + bytes(1000))

    line.reset(3)

    assert (stream._room, stream._message) == (None, None)


def test_a_client_that_is_gone_is_given_no_room() -> None:
    line = Calls()
    for number in range(1, 20, 2):
        line.call(number, "/one", PREFIX.pack(0, MEGABYTE))
    line.transport.frames()

    line.connection.connection_lost(None)

    assert line.transport.frames() == []


@pytest.mark.parametrize("second", [message(b"another"), message(b"another")[:6], PREFIX.pack(0, MEGABYTE)])
def test_a_second_message_is_refused_before_it_comes_and_takes_no_room(second: bytes) -> None:
    line = Calls()
    line.call(1, "/one", message(bytes(MEGABYTE)))
    assert line.let_in() == [1]

    line.data(1, second)
    assert line.statuses() == [UNIMPLEMENTED]

    for number in (3, 5):  # one with all of the room, one that waits for it
        line.call(number, "/one", PREFIX.pack(0, MEGABYTE))
    assert line.let_in() == [3]
    line.reset(3)
    assert line.let_in() == [5]


# -- calls of many messages


@pytest.mark.parametrize("size", [16 * 1024 - 5, 20_000], ids=["of a frame", "of two frames"])
def test_a_call_of_many_messages_may_go_on_as_long_as_it_likes(size: int) -> None:
    line = Calls()
    stream = line.call(1, "/many")
    for _ in range(100):
        line.data(1, message(bytes(size)))
        line.receive(frames.window_update(1, 100) + frames.window_update(0, 100))
    assert not stream.over
    assert stream.window >= STREAM_WINDOW // 2


def test_a_message_of_many_is_no_larger_than_the_window_of_its_stream() -> None:
    line = Calls(max_body=4 * MEGABYTE)
    line.call(1, "/many", message(bytes(256 * 1024)))
    line.call(3, "/many", PREFIX.pack(0, 256 * 1024 + 1))
    line.call(5, "/many", PREFIX.pack(0, 4 * MEGABYTE) + bytes(11))
    assert line.statuses() == [RESOURCE_EXHAUSTED, RESOURCE_EXHAUSTED]
    assert not line.calls[0].over


def test_a_message_that_begins_on_a_quiet_call_must_come_to_its_end_in_time() -> None:
    line = Calls()
    stream = line.call(1, "/many")
    line.connection.sweep(after(BODY_SECONDS + 1))
    assert not stream.over  # it may ask whenever it wants

    line.data(1, message(b"question")[:-1])
    line.connection.sweep(after(BODY_SECONDS - 1))
    assert not stream.over
    line.connection.sweep(after(BODY_SECONDS + 1))
    assert line.statuses() == [DEADLINE_EXCEEDED]


def test_a_message_has_its_time_from_its_own_beginning() -> None:
    line = Calls()
    stream = line.call(1, "/many")
    stream.deadline = after(1)  # nearly a minute later

    line.data(1, message(b"question")[:-1])
    line.connection.sweep(after(BODY_SECONDS - 1))

    assert not stream.over
