"""Clients that play with HTTP/2: each is survived, within bounded memory, while others are served.

Rapid reset is CVE-2023-44487, CONTINUATION without end CVE-2024-27316, the floods CVE-2019-9512 to 9518.
"""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hpack import Encoder
from tests.runtime import small_bundles as small
from tests.runtime.conftest import Running
from tests.runtime.grpc_client import Client, raw
from tests.runtime.http2_client import (
    ACK,
    CALM,
    CANCEL,
    COMPRESSION,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL,
    GOAWAY,
    GOOD,
    HEADERS,
    INFER,
    INITIAL_WINDOW,
    LIVE,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    REFUSED,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    frame,
    message,
    settings,
)
from tests.runtime.test_overload import wait_for_gauge

MEGABYTE = 1 << 20
MUCH = 200_000
DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = 4, 8
IN_FLIGHT = "tidegate_requests_in_flight"


@pytest.fixture(scope="module")
def server(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    return serve(bundles(small.linear()), "--grpc-port", "0", "--max-body", "1MiB")


@pytest.fixture(scope="module")
def hurried(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    """Has no patience: for the tests that wait until something took too long, and for no others."""
    return serve(bundles(small.linear()), "--grpc-port", "0", "--header-timeout", "500ms", "--body-timeout", "1s")


@pytest.fixture
def peer(server: Running) -> Iterator[Peer]:
    with Peer(server.grpc) as found:
        yield found


@pytest.fixture(autouse=True)
def unharmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does, another client is served at its side, and no memory is lost to it."""
    server: Running = request.getfixturevalue("hurried" if "hurried" in request.fixturenames else "server")
    with Client(server.grpc) as other:
        other.ask(INFER, GOOD)
        before = server.peak_memory
        yield
        other.ask(INFER, GOOD)
        assert server.peak_memory - before < 24 * MEGABYTE
    wait_for_gauge(server, IN_FLIGHT, 0)


def floods(peer: Peer) -> dict[str, Iterator[bytes]]:
    """Frames that ask for nothing, hundreds of them in a piece."""
    stream = peer.begin()
    block = peer.block()

    def again(*one: bytes) -> Iterator[bytes]:
        return itertools.repeat(b"".join(one) * 500, MUCH // 500)

    def resets() -> Iterator[bytes]:
        for number in range(stream + 2, stream + 2 * MUCH, 2):
            cancelled = frame(RST_STREAM, 0, number, struct.pack(">L", CANCEL))
            yield frame(HEADERS, END_HEADERS, number, block) + cancelled

    return {
        "rapid resets": resets(),
        "settings": again(settings({INITIAL_WINDOW: 70_000}), settings({INITIAL_WINDOW: 60_000})),
        "full settings": itertools.repeat(frame(SETTINGS, 0, 0, struct.pack(">HL", INITIAL_WINDOW, 0) * 2730), 100),
        "pings": again(frame(PING, 0, 0, bytes(8))),
        "empty data": again(frame(DATA, 0, stream)),
        "nothing but padding": again(frame(DATA, PADDED, stream, b"\x03\0\0\0")),
        "priorities": again(frame(PRIORITY, 0, stream, struct.pack(">LB", 0, 7))),
        "crumbs of window": again(frame(WINDOW_UPDATE, 0, stream, struct.pack(">L", 1))),
        "kinds that nobody knows": again(frame(200, 0, 0)),
        "farewells": again(frame(GOAWAY, 0, 0, bytes(8))),
    }


@pytest.mark.parametrize(
    "kind",
    ["rapid resets", "settings", "full settings", "pings", "empty data", "nothing but padding", "priorities", "crumbs of window",
     "kinds that nobody knows", "farewells"],
)  # fmt: skip
def test_a_flood_that_asks_for_nothing_ends_its_connection(peer: Peer, kind: str) -> None:
    peer.flood(floods(peer)[kind])
    assert peer.ended_with() == CALM


def test_who_resets_calls_now_and_then_and_is_served_in_between_may_go_on(peer: Peer) -> None:
    for _ in range(1500):
        stream = peer.begin()
        peer.send(frame(RST_STREAM, 0, stream, struct.pack(">L", CANCEL)))
        assert peer.status(peer.ask()) == (0, "")


# -- headers


def test_headers_that_go_on_for_ever_end_their_connection(peer: Peer) -> None:
    peer.begin(flags=0)
    peer.flood(itertools.repeat(frame(CONTINUATION, 0, 1, b"\0\x01a\x7e" + b"b" * 126) * 100, 500))
    assert peer.ended_with() == CALM


def test_headers_that_go_on_in_empty_frames_end_their_connection(peer: Peer) -> None:
    peer.begin(flags=0)
    peer.flood(itertools.repeat(frame(CONTINUATION, 0, 1) * 500, 500))
    assert peer.ended_with() == CALM


def test_headers_that_do_not_go_on_end_their_connection_in_time(hurried: Running) -> None:
    with Peer(hurried.grpc) as peer:
        peer.begin(flags=0)
        assert peer.ended_with() == CALM


def test_a_connection_on_which_nothing_is_said_ends_in_time(hurried: Running) -> None:
    with Peer(hurried.grpc, b"") as silent:
        assert silent.ended_with() == CALM


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", PREFACE[:10] + b"x" * 100, bytes(1000)])
def test_who_speaks_something_else_is_told(server: Running, greeting: bytes) -> None:
    with Peer(server.grpc, greeting) as stranger:
        assert b"HTTP/2 is spoken here" in stranger.until(GOAWAY).payload


def test_headers_that_unpack_to_many_times_their_size_end_their_connection(peer: Peer) -> None:
    stored = Encoder().encode([("a", "b" * 4000)])
    peer.send(frame(HEADERS, END_HEADERS, 1, stored[:1] + stored[1:] + b"\xbe" * 12_000))
    assert peer.ended_with() == CALM


def test_more_headers_than_are_taken_end_their_connection(peer: Peer) -> None:
    block = peer.block(LIVE, *((f"name-{number}", "value" * 200) for number in range(80)))
    assert len(block) > 48_000
    peer.send(frame(HEADERS, 0, 1, block[:16_000]))
    pieces = [block[at : at + 16_000] for at in range(16_000, len(block), 16_000)]
    peer.flood(frame(CONTINUATION, END_HEADERS if piece is pieces[-1] else 0, 1, piece) for piece in pieces)
    assert peer.ended_with() == CALM


@pytest.mark.parametrize(
    "block",
    [b"\x3f\xe2\x1f" + b"\x82", b"\x20" * 15_000, b"\x3f\xe1\x1f" * 5_000, b"\xff" * 100, b"\x7f\xff\xff\xff\xff\xff\x0f"],
    ids=["a table above the limit", "resizes without end", "long resizes", "a number without end", "no such entry"],
)  # fmt: skip
def test_tables_are_not_played_with(peer: Peer, block: bytes) -> None:
    peer.send(frame(HEADERS, END_HEADERS, 1, block))
    assert peer.ended_with() == COMPRESSION


def test_a_call_is_understood_whatever_the_client_does_with_its_table(peer: Peer) -> None:
    for number in range(300):
        stream = peer.begin(LIVE, (f"name-{number % 90}", f"value {number}"), ("grpc-timeout", f"{9000 + number}m"))
        peer.send(frame(DATA, END_STREAM, stream, message(b"")))
        assert peer.status(stream) == (0, "")


# -- windows


def test_a_client_that_wants_no_bytes_of_its_answers_is_reset_in_time(hurried: Running) -> None:
    with Peer(hurried.grpc, PREFACE + settings({INITIAL_WINDOW: 0})) as peer:
        streams = {peer.ask(GOOD, INFER) for _ in range(100)}
        before = time.monotonic()
        while streams:
            found = peer.until(RST_STREAM)
            assert found.code == CANCEL
            streams.remove(found.stream)
        assert 0.5 < time.monotonic() - before < 15


def test_an_answer_comes_in_pieces_where_the_client_wants_it_so(server: Running) -> None:
    with Peer(server.grpc, PREFACE + settings({INITIAL_WINDOW: 1})) as peer:
        stream = peer.ask()
        content = peer.until(DATA).payload
        while len(content) < 7:
            peer.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">L", 1)))
            content += peer.until(DATA).payload
        assert content == message(b"\x08\x01")
        assert peer.status(stream) == (0, "")


def test_a_window_of_the_connection_bounds_all_answers_together(peer: Peer) -> None:
    thousand = raw("x", "FP32", [1000, 4], bytes(16_000)).SerializeToString()  # answered with 20 KB
    for _ in range(3):
        assert peer.status(peer.ask(thousand, INFER)) == (0, "")
    last = peer.ask(thousand, INFER)
    assert len(peer.until(DATA, last).payload) < 10_000
    peer.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">L", 50_000)))
    assert peer.status(last) == (0, "")


@pytest.mark.parametrize("stream", [0, 1])
def test_a_window_that_overflows_ends_what_it_belongs_to(peer: Peer, stream: int) -> None:
    peer.begin()
    peer.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">L", 2**31 - 1)) * 2)
    assert peer.until(RST_STREAM if stream else GOAWAY).code == FLOW_CONTROL


def test_more_data_than_the_stream_has_room_for_resets_it(peer: Peer) -> None:
    let_in, waiting = (peer.begin(INFER) for _ in range(2))
    for stream in (let_in, waiting):
        peer.send(frame(DATA, 0, stream, message(bytes(900 * 1024))[: 16 * 1024]))
    peer.send(frame(DATA, 0, waiting, bytes(16 * 1024)) * 20)
    assert peer.until(RST_STREAM, waiting).code == FLOW_CONTROL
    assert peer.status(peer.ask()) == (0, "")


def test_data_for_streams_that_have_ended_is_bounded_and_the_connection_goes_on(peer: Peer) -> None:
    stream = peer.begin(INFER)
    peer.send(frame(DATA, 0, stream, message(bytes(2 * MEGABYTE))[: 16 * 1024]))  # refused at its prefix
    peer.send(frame(DATA, 0, stream, bytes(16 * 1024)) * 1500)  # 24 MB that were on their way
    assert peer.status(stream)[0] == RESOURCE_EXHAUSTED
    assert peer.status(peer.ask()) == (0, "")


# -- bodies and streams


def test_a_message_that_does_not_arrive_in_time_is_refused_and_the_connection_goes_on(hurried: Running) -> None:
    with Peer(hurried.grpc) as peer:
        stream = peer.begin(INFER)
        peer.send(frame(DATA, 0, stream, message(bytes(100_000))[:1000]))
        assert peer.status(stream) == (DEADLINE_EXCEEDED, "the request took too long to arrive")
        assert peer.status(peer.ask()) == (0, "")


def test_a_stream_of_answers_ends_at_the_deadline_of_its_call(peer: Peer) -> None:
    stream = peer.begin("/grpc.health.v1.Health/Watch", ("grpc-timeout", "300m"))
    peer.send(frame(DATA, END_STREAM, stream, message(b"")))
    assert peer.until(DATA, stream).payload == message(b"\x08\x01")
    assert peer.status(stream) == (DEADLINE_EXCEEDED, "the call's time is over")


def test_who_asks_on_and_takes_no_answer_is_reset(server: Running) -> None:
    question = message(b"\x3a\x00")  # list_services
    with Peer(server.grpc, PREFACE + settings({INITIAL_WINDOW: 0})) as peer:
        stream = peer.begin("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        peer.send(frame(DATA, 0, stream, question) * 500)
        assert peer.until(RST_STREAM, stream).code == CALM


def test_what_is_no_call_is_answered_as_http_does(peer: Peer) -> None:
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, peer.block("/", method="GET")))
    assert peer.fields(peer.until(HEADERS))[":status"] == "405"
    assert b"POST is expected" in peer.until(DATA).payload


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the method takes one message"),
        (message(GOOD) * 2, "the method takes one message"),
        (message(GOOD)[:-1], "the call ended within a message"),
        (message(GOOD)[:3], "the call ended within a message"),
        (b"\x01" + message(GOOD)[1:], "compressed messages are not accepted"),
    ],
)
def test_a_call_of_one_message_takes_one_message(peer: Peer, content: bytes, sentence: str) -> None:
    stream = peer.begin(INFER)
    peer.send(frame(DATA, END_STREAM, stream, content))
    assert peer.status(stream)[1] == sentence


def test_a_message_in_frames_of_one_byte_is_put_together(peer: Peer) -> None:
    stream = peer.begin(INFER)
    for byte in message(GOOD):
        peer.send(frame(DATA, 0, stream, bytes([byte])))
    peer.send(frame(DATA, END_STREAM, stream))
    assert peer.status(stream) == (0, "")


def test_padding_does_not_use_up_a_streams_room(peer: Peer) -> None:
    stream = peer.begin(INFER)
    for byte in message(GOOD):
        peer.send(frame(DATA, PADDED, stream, b"\xff" + bytes([byte]) + bytes(255)) + frame(PING, 0, 0, bytes(8)))
        peer.until(PING)
    peer.send(frame(DATA, END_STREAM, stream))
    assert peer.status(stream) == (0, "")


def test_one_stream_more_than_is_allowed_is_refused_and_the_others_go_on(peer: Peer) -> None:
    streams = [peer.begin(INFER) for _ in range(128)]
    extra = peer.begin(INFER)
    found = peer.until(RST_STREAM)
    assert (found.stream, found.code) == (extra, REFUSED)
    for stream in streams:
        peer.send(frame(DATA, END_STREAM, stream, message(GOOD)))
    assert {peer.until(DATA).stream for _ in streams} == set(streams)


def test_long_messages_of_one_connection_are_let_in_one_after_another(peer: Peer) -> None:
    size = 900 * 1024
    streams = [peer.begin(INFER) for _ in range(3)]
    for stream in streams:
        peer.send(frame(DATA, 0, stream, message(bytes(size))[:10]))
    for stream in streams:
        assert peer.until(WINDOW_UPDATE, stream).kind == WINDOW_UPDATE  # the next one only after the answer below
        left = size - 5
        while left:
            piece = min(left, 16 * 1024)
            left -= piece
            peer.send(frame(DATA, 0 if left else END_STREAM, stream, bytes(piece)))
        assert peer.status(stream)[1] == "the message is not a ModelInferRequest"


def test_who_does_not_read_is_not_read_and_let_go_in_time(hurried: Running) -> None:
    with Peer(hurried.grpc) as peer:
        before = time.monotonic()
        peer.flood(frame(HEADERS, END_HEADERS | END_STREAM, n, peer.block("/nothing")) for n in range(1, 2**31, 2))
        assert time.monotonic() - before < 60


def test_acknowledgements_ask_for_nothing_and_cost_nothing(peer: Peer) -> None:
    peer.send((frame(SETTINGS, ACK, 0) + frame(PING, ACK, 0, bytes(8))) * 3000)
    assert peer.status(peer.ask()) == (0, "")
