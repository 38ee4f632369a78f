"""A connection's frames however they are cut, and its clock: silence, peers that are gone, and what is never read."""

from __future__ import annotations

import time

import pytest
from hpack import Decoder, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.runtime.http2.asking import BODY_SECONDS, END, FIELDS, HEADER_SECONDS, IDLE_SECONDS, STARTED, Line

from tidegate_runtime.http2 import frames
from tidegate_runtime.http2.connection import GONE_SECONDS, LINGER_SECONDS, PING_SECONDS, QUIET_SECONDS
from tidegate_runtime.http2.frames import DATA, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, Code

ANSWER = [HEADERS, DATA, HEADERS]


def after(seconds: float) -> float:
    return time.monotonic() + seconds


def test_a_call_is_answered_in_one_write() -> None:
    line = Line()
    line.ask(1)
    head, body, end = line.transport.frames()
    assert (head[0], body[0], end[0]) == (HEADERS, DATA, HEADERS)
    assert (body[3], end[1]) == (b"hello", frames.END_STREAM | frames.END_HEADERS)


@given(cuts=st.lists(st.integers(1, 40), min_size=1, max_size=30), content=st.binary(max_size=600))
def test_frames_are_understood_wherever_they_are_cut(cuts: list[int], content: bytes) -> None:
    line = Line(hello=b"")
    block = Encoder().encode(FIELDS)
    said = (
        frames.PREFACE,
        frames.settings({}),
        frames.frame(HEADERS, frames.END_HEADERS, 1, block),
        frames.frame(DATA, frames.END_STREAM, 1, content),
    )
    left, at = b"".join(said), 0
    while left:
        size = cuts[at % len(cuts)]
        line.receive(left[:size])
        left, at = left[size:], at + 1
    assert line.streams[0].heard == content
    assert line.transport.kinds()[-3:] == ANSWER


FRAME = st.builds(
    frames.frame,
    st.integers(0, 10),
    st.sampled_from([0, 1, 4, 5, 8, 9, 12, 13, 32, 36, 37, 45]),
    st.integers(0, 7),
    st.binary(max_size=12) | st.just(Encoder().encode(FIELDS)) | st.just(frames.NUMBER.pack(2**31 - 1)),
)


@settings(max_examples=500)
@given(said=st.lists(FRAME | st.binary(max_size=12), max_size=40))
def test_whatever_is_said_it_goes_on_or_ends_in_order(said: list[bytes]) -> None:
    line = Line()
    for piece in said:
        line.receive(piece)
    line.connection.sweep(after(BODY_SECONDS + 1))
    line.connection.connection_lost(None)
    assert all(stream.over for stream in line.streams)
    assert line.gone


# -- the clock


def test_a_silent_client_is_asked_whether_it_is_there_and_let_go_when_it_is_not() -> None:
    line = Line(now=False)
    line.ask(1)
    line.connection.sweep(after(PING_SECONDS - 1))
    assert line.transport.kinds() == []
    asked = after(PING_SECONDS + 1)
    line.connection.sweep(asked)
    assert line.transport.kinds() == [PING]
    line.connection.sweep(asked + GONE_SECONDS - 1)
    assert not line.transport.aborted
    line.connection.sweep(asked + GONE_SECONDS + 1)
    assert line.transport.aborted


def test_a_client_that_answers_stays() -> None:
    line = Line(now=False)
    line.ask(1)
    asked = after(PING_SECONDS + 1)
    line.connection.sweep(asked)
    (ping,) = line.transport.frames()
    line.receive(frames.frame(PING, frames.ACK, 0, ping[3]))
    line.connection.sweep(after(GONE_SECONDS + 5))
    assert not line.transport.aborted


@pytest.mark.parametrize("hello", [b"", frames.PREFACE, frames.PREFACE[:5]])
def test_a_client_that_does_not_say_hello_is_told_that_it_took_too_long(hello: bytes) -> None:
    line = Line(hello=b"")
    line.receive(hello)
    line.transport.frames()
    line.connection.sweep(after(HEADER_SECONDS - 1))
    assert line.transport.frames() == []
    late = after(HEADER_SECONDS + 1)
    line.connection.sweep(late)
    assert line.transport.kinds() == [GOAWAY]
    assert line.transport.eof
    line.connection.sweep(late + LINGER_SECONDS + 1)
    assert line.transport.aborted


def test_an_answer_gives_headers_that_have_begun_no_more_time() -> None:
    line = Line(now=False)
    stream = line.ask(1)
    line.head(3, FIELDS, flags=0)
    stream.answer()
    line.transport.frames()
    line.connection.sweep(after(HEADER_SECONDS + 1))
    assert line.transport.kinds() == [GOAWAY]
    assert line.transport.eof


def test_an_idle_connection_is_told_to_go() -> None:
    line = Line()
    line.ask(1)
    line.transport.frames()
    line.connection.sweep(after(IDLE_SECONDS + 1))
    goaway, ping = line.transport.frames()
    assert (goaway[0], int.from_bytes(goaway[3][:4], "big")) == (GOAWAY, 2**31 - 1)
    line.receive(frames.frame(PING, frames.ACK, 0, ping[3]))
    assert [int.from_bytes(found[3][:4], "big") for found in line.transport.frames()] == [1]
    assert line.transport.eof


def test_a_connection_whose_calls_were_all_reset_becomes_idle() -> None:
    line = Line(now=False)
    line.ask(1)
    line.reset(1)
    line.connection.sweep(after(0))
    line.connection.sweep(after(IDLE_SECONDS + 1))
    assert line.transport.kinds() == [GOAWAY, PING]


def test_a_stream_is_told_when_its_time_is_over() -> None:
    line = Line(now=False)
    stream = line.ask(1)
    stream.deadline = after(5)
    line.connection.sweep(after(4))
    assert stream.said == ["begin", "complete"]
    line.connection.sweep(after(6))
    assert (stream.said[-1], stream.over) == ("overdue", True)


def test_an_answer_that_is_not_wanted_is_given_up() -> None:
    line = Line(hello=frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 3}))
    stream = line.ask(1)
    assert [found[3] for found in line.transport.frames() if found[0] == DATA] == [b"hel"]
    line.connection.sweep(after(BODY_SECONDS - 1))
    assert not stream.over
    line.connection.sweep(after(BODY_SECONDS + 1))
    assert line.transport.frames()[-1][0] == RST_STREAM
    assert stream.said[-1] == "lost"


def test_who_does_not_read_is_not_read_and_in_the_end_cut_off() -> None:
    line = Line()
    line.connection.pause_writing()
    assert not line.transport.reading
    line.connection.sweep(after(BODY_SECONDS - 1))
    assert not line.transport.aborted
    line.connection.resume_writing()
    assert line.transport.reading
    line.connection.pause_writing()
    line.connection.sweep(after(BODY_SECONDS + 1))
    assert line.transport.aborted


# -- the end


def test_while_it_ends_calls_are_answered_and_then_the_client_may_close() -> None:
    line = Line(now=False)
    line.ask(1)
    line.connection.drain()
    goaway, ping = line.transport.frames()
    late = line.ask(3)  # sent before the client read that
    line.receive(frames.frame(PING, frames.ACK, 0, ping[3]))
    assert [int.from_bytes(found[3][:4], "big") for found in line.transport.frames()] == [3]
    line.ask(5)
    assert line.streams[-1] is late  # for another server
    for stream in line.streams:
        stream.answer()
    assert line.transport.kinds() == [*ANSWER, *ANSWER]
    assert line.transport.eof
    assert goaway[0] == GOAWAY


def test_a_client_that_has_asked_nothing_and_is_silent_does_not_hold_the_end_up() -> None:
    line = Line()
    line.connection.drain()
    line.connection.sweep(after(QUIET_SECONDS / 2))
    assert not line.transport.eof
    line.connection.sweep(after(QUIET_SECONDS + 1))
    assert line.transport.eof


def test_a_client_that_reads_its_last_answers_slowly_is_not_cut_off_before_its_time() -> None:
    line = Line()
    line.ask(1)
    line.connection.drain()
    line.receive(frames.frame(PING, frames.ACK, 0, line.transport.frames()[-1][3]))
    line.transport.unsent = 1
    line.connection.sweep(after(LINGER_SECONDS + 1))
    assert not line.transport.aborted
    line.connection.sweep(after(BODY_SECONDS + 1))
    assert line.transport.aborted


def test_when_the_client_is_gone_its_calls_are_lost() -> None:
    line = Line(now=False)
    stream = line.ask(1)
    line.connection.connection_lost(None)
    assert (stream.said[-1], stream.over, line.gone) == ("lost", True, True)


def test_a_fault_of_the_client_loses_all_its_calls() -> None:
    line = Line(now=False)
    stream = line.ask(1)
    line.receive(frames.frame(SETTINGS, 0, 1))
    (goaway,) = line.transport.frames()
    assert (goaway[0], goaway[3][4:8]) == (GOAWAY, int(Code.PROTOCOL_ERROR).to_bytes(4, "big"))
    assert stream.said[-1] == "lost"
    line.receive(b"anything" * 100)
    assert line.transport.frames() == []


# -- settings


@pytest.mark.parametrize("size", [0, 4095])
@pytest.mark.parametrize("room", [frames.DEFAULT_WINDOW, 3], ids=["at once", "in pieces"])
def test_a_client_that_lowers_the_size_of_the_table_reads_all_our_headers(size: int, room: int) -> None:
    given = frames.settings({frames.HEADER_TABLE_SIZE: size, frames.INITIAL_WINDOW_SIZE: room})
    line, decoder = Line(hello=frames.PREFACE + given), Decoder()
    decoder.max_allowed_table_size = size

    for number in (1, 3):
        line.ask(number)
        line.receive(frames.window_update(number, 10))

    blocks = [found[3] for found in line.transport.frames() if found[0] == HEADERS]
    assert [dict(decoder.decode(block, raw=True)) for block in blocks] == [{b":status": b"200"}, {b"end": b"1"}] * 2
    assert [block[:1] == b"\x20" for block in blocks] == [True, False, False, False]


def test_a_client_that_lowers_the_size_of_the_table_amid_an_answer_reads_its_end() -> None:
    line, decoder = Line(hello=frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 3})), Decoder()
    line.ask(1)
    decoder.decode(line.transport.frames()[0][3])
    for size in (100, 4096, 0):
        line.receive(frames.settings({frames.HEADER_TABLE_SIZE: size}))
    decoder.max_allowed_table_size = 0

    line.receive(frames.window_update(1, 10))

    end = line.transport.frames()[-1]
    assert dict(decoder.decode(end[3], raw=True)) == {b"end": b"1"}


def test_a_client_that_leaves_the_table_as_it_is_hears_nothing_of_it() -> None:
    line = Line(hello=frames.PREFACE + frames.settings({frames.HEADER_TABLE_SIZE: 65536}))
    line.ask(1)
    assert [found[3] for found in line.transport.frames() if found[0] == HEADERS] == [STARTED, END]


# -- what costs us more than them


def test_each_setting_of_a_frame_costs_the_client_its_patience() -> None:
    line = Line(now=False)
    many = frames.SETTING.pack(frames.INITIAL_WINDOW_SIZE, 0) * (frames.LARGEST_FRAME // frames.SETTING.size)
    line.receive(frames.frame(SETTINGS, 0, 0, many))
    (goaway,) = line.transport.frames()
    assert (goaway[0], goaway[3][4:8]) == (GOAWAY, int(Code.ENHANCE_YOUR_CALM).to_bytes(4, "big"))


# -- windows


def test_bytes_that_were_read_are_given_back() -> None:
    line = Line(now=False)
    block = Encoder().encode(FIELDS)
    for number in range(1, 80, 2):
        line.receive(frames.frame(HEADERS, frames.END_HEADERS, number, block))
        for _ in range(16):
            line.receive(frames.frame(DATA, 0, number, bytes(16 * 1024)))
    given = [found for found in line.transport.frames() if found[0] == WINDOW_UPDATE]
    assert sum(int.from_bytes(found[3], "big") for found in given if not found[2]) >= 40 * 256 * 1024 - 4 * 2**20


def test_a_long_answer_goes_out_as_the_windows_open() -> None:
    line = Line(now=False)
    stream = line.ask(1)
    stream.heard = bytes(200_000)
    stream.answer()
    came = 0
    for _ in range(20):
        came += sum(len(found[3]) for found in line.transport.frames() if found[0] == DATA)
        if stream.over:
            break
        for number in (0, 1):
            line.receive(frames.window_update(number, 20_000))
    assert (came, stream.over) == (200_000, True)
