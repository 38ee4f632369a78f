"""Whatever arrives, the parsers answer: a request, or one error with a sentence; never a traceback, never silence."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.runtime.fake_model import FakeModel

from tidegate_runtime.admission import Admission
from tidegate_runtime.backpressure import Backpressure
from tidegate_runtime.errors import RequestError
from tidegate_runtime.http import Connection
from tidegate_runtime.oip_codec import REMEMBERED, InferCodec
from tidegate_runtime.request import Front, Limits, Request
from tidegate_runtime.routes import Identity, Route, find
from tidegate_runtime.signature import Signature

GOOD: dict[str, Any] = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, 2]}], "id": "a"}
CODEC = InferCodec(FakeModel(), Signature(FakeModel(), most_rows=64), most_numbers=1 << 20)
X: dict[str, Any] = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
BINARY: list[dict[str, Any]] = [
    {"inputs": [X]},
    {"inputs": [X], "id": "a"},
    {"inputs": [X], "id": "b"},
    {"inputs": [X], "parameters": {"binary_data_output": True, "timeout": 7}},
    {"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
    {"inputs": [{**X, "shape": [2, 2], "parameters": {"binary_data_size": 16}}]},
    {"inputs": [{**X, "parameters": {"binary_data_size": 9}}]},
    {"inputs": [{**X, "parameters": {}, "data": [3, 4]}]},
    {"inputs": [X, X]},
    {"inputs": [{**X, "name": "z"}]},
    {"inputs": [{**X, "parameters": {}, "data": [[3.5, 4]]}]},
    {"inputs": [{**X, "parameters": {}, "data": [3, 4, 5]}]},
    {"inputs": [{**X, "parameters": {}, "data": [3, 1e39]}]},
    {"inputs": [{**X, "shape": [2, 2], "parameters": {}, "data": [[3, 4], [5, 6]]}]},
    {"inputs": [{**X, "parameters": {}, "data": [True, 4]}]},
]
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=4), max_leaves=8)
documents = st.fixed_dictionaries(
    {},
    optional={
        "inputs": values
        | st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "name": st.just("x") | values,
                    "shape": st.just([1, 2]) | values,
                    "datatype": st.just("FP32") | values,
                    "data": st.just([1, 2]) | values,
                    "parameters": values | st.dictionaries(st.just("binary_data_size"), values),
                },
            ),
            max_size=3,
        ),
        "outputs": values | st.just([{"name": "y"}]),
        "parameters": values | st.dictionaries(st.sampled_from(["timeout", "binary_data_output"]), values),
        "id": values,
    },
)


def decode(body: bytes, header_length: int | None = None) -> Any:
    """What the codec makes of a body; a RequestError counts as an answer."""
    try:
        return CODEC.decode(body, header_length)
    except RequestError as error:
        assert error.message
        assert 400 <= error.status < 500
        return None


@settings(max_examples=300, deadline=None)
@given(documents)
def test_any_json_is_a_request_or_one_error(document: Any) -> None:
    found = decode(json.dumps(document).encode())
    if found is not None:
        assert found.feeds["x"].dtype == np.float32
        assert found.feeds["x"].shape == tuple(document["inputs"][0]["shape"])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.none() | st.integers(0, 400))
def test_any_bytes_are_refused_or_read(body: bytes, header_length: int | None) -> None:
    decode(body, header_length)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_request_with_damaged_bytes_is_refused_or_read(data: st.DataObject) -> None:
    body = bytearray(json.dumps(GOOD).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    decode(bytes(body))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(BINARY), st.integers(0, 20)), min_size=2, max_size=6))
def test_a_request_is_read_the_same_whatever_was_read_before_it(sent: list[tuple[dict[str, Any], int]]) -> None:
    codec = fresh()
    for number, (document, length) in enumerate(sent):
        text, raw = json.dumps(document).encode(), (np.arange(5, dtype="<f4") + number).tobytes()[:length]

        assert said(codec, text, raw) == said(fresh(), text, raw)


def test_the_same_words_with_other_bytes_are_another_request() -> None:
    codec, text = fresh(), json.dumps(BINARY[0]).encode()

    found = [
        codec.decode(text + np.array([n, -n], np.float32).tobytes(), len(text)).feeds["x"].tolist() for n in (1, 2, 3)
    ]

    assert found == [[[1, -1]], [[2, -2]], [[3, -3]]]


def test_what_is_remembered_of_requests_is_bounded() -> None:
    codec = fresh()
    for timeout in range(1000):
        text = json.dumps({**BINARY[0], "parameters": {"timeout": timeout}}).encode()
        assert codec.decode(text + bytes(8), len(text)).timeout == pytest.approx(timeout * 1e-6)

    assert len(codec._layouts) <= REMEMBERED


def fresh() -> InferCodec:
    return InferCodec(FakeModel(), Signature(FakeModel(), most_rows=64), most_numbers=1 << 20)


def said(codec: InferCodec, text: bytes, raw: bytes) -> Any:
    """What the codec makes of a binary request, in values that can be compared."""
    try:
        found = codec.decode(text + raw, len(text))
    except RequestError as error:
        return error.status, error.message
    wanted = [(want.port.name, want.binary, want.classes) for want in found.wanted]
    feeds = {name: array.tolist() for name, array in found.feeds.items()}
    return found.id, feeds, wanted, found.null_for_nonfinite, found.timeout


def test_too_many_inputs_are_refused() -> None:
    with pytest.raises(RequestError, match="a request may have at most 1024 inputs"):
        CODEC.decode(json.dumps({**GOOD, "inputs": [{}] * 5000}).encode(), None)


@pytest.mark.parametrize("size", [1, 5000])
def test_members_that_the_protocol_does_not_know_are_passed_over(size: int) -> None:
    assert CODEC.decode(json.dumps({**GOOD, "more": [{"a": []}] * size}).encode(), None).id == "a"


class FakeTransport:
    """Keeps what was written, and whether it is read from."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False
        self.reading = True

    def write(self, data: bytes) -> None:
        self.written += data

    def write_eof(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def echo(connection: Connection, request: Request) -> None:
    connection.answer(200, bytes(request.body))


def broken(source: object) -> RequestError | None:
    raise KeyError("a fault of ours")


ROUTES = {b"/echo": Route({b"POST": echo}), b"/": Route.get(echo), b"/broken": Route({b"POST": echo}, broken)}


def feed(connection: Connection, piece: bytes) -> None:
    """As a transport does: into the buffer that the connection gives, as much as fits."""
    while piece:
        room = connection.get_buffer(-1)
        count = min(len(room), len(piece))
        room[:count] = piece[:count]
        connection.buffer_updated(count)
        piece = piece[count:]


async def exchange(pieces: list[bytes]) -> FakeTransport:
    """Feed the pieces to a connection one after another."""
    limits = Limits(max_body=100_000, header_timeout=1, body_timeout=1, idle_timeout=1)
    identity = Identity("m", ("v1",), "1")
    pressure = Backpressure(Admission(1), 1.0)

    def route(request: Request) -> Route:
        request.route = found = find(ROUTES, request.url, identity)
        return found

    front = Front(limits, route, lambda _: True, lambda _: None, pressure)
    connection, transport = Connection(front), FakeTransport()
    connection.connection_made(cast("asyncio.BaseTransport", transport))
    for piece in pieces:
        if not transport.closed:
            feed(connection, piece)
            await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    connection.sweep(float("inf"))
    connection.connection_lost(None)
    return transport


def statuses(written: bytes) -> list[int]:
    """The status of every answer in what was written; fails when it is not a row of whole answers."""
    found = []
    while written:
        head, _, rest = written.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 ")
        status = int(head[9:12])
        found.append(status)
        length = int(head.split(b"content-length: ")[1].split(b"\r")[0]) if status != 100 else 0
        assert len(rest) >= length
        written = rest[length:]
    return found


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


PACKED = gzip.compress(b"hello", mtime=0)
requests = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /echo HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello",
        b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"POST /nowhere HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc",
        b"POST /echo HTTP/1.1\r\ninference-header-content-length: 9\r\ncontent-length: 40000\r\n\r\n" + b"abcd" * 10000,
        b"HEAD / HTTP/1.1\r\nx: " + b"y" * 300 + b"\r\n\r\n",
        b"POST /echo HTTP/1.1\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(PACKED) + PACKED,
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(requests, min_size=1, max_size=6), st.lists(st.integers(0, 90_000), max_size=12))
def test_requests_are_answered_the_same_however_their_bytes_are_cut(sent: list[bytes], cuts: list[int]) -> None:
    data = b"".join(sent)
    whole = asyncio.run(exchange([data])).written
    assert asyncio.run(exchange(split(data, cuts))).written == whole
    assert len(whole.split(b"HTTP/1.1 ")) - 1 == len(sent)


def test_a_fault_of_ours_while_a_request_is_read_is_not_called_the_clients(caplog: pytest.LogCaptureFixture) -> None:
    transport = asyncio.run(exchange([b"POST /broken HTTP/1.1\r\ncontent-length: 2\r\n\r\nok"]))

    assert statuses(transport.written) == [500]
    assert "a fault of ours" in caplog.text


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4), st.booleans())
def test_any_bytes_get_whole_answers_or_none(data: bytes, cuts: list[int], after: bool) -> None:
    good = b"POST /echo HTTP/1.1\r\ncontent-length: 2\r\n\r\nok"
    transport = asyncio.run(exchange(split(good + data if after else data, cuts) or [b""]))
    found = statuses(transport.written)
    assert set(found) <= {200, 400, 404, 405, 408, 413, 415, 431, 505}
    if after:
        assert found[0] == 200
