"""A real server under a rain of damaged bytes: whole answers with sentences, no hang, no 500, no path, no memory lost."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.conftest import DEADLINE, Running
from tests.runtime.fuzzing import damaged, for_its_time, messages, sorts, with_true_length
from tests.runtime.grpc_client import SERVICE, Client, Refusal
from tests.runtime.grpc_client import request as new_request

INFER = f"{SERVICE}/ModelInfer"
MIB = 1 << 20
ROOM = 48 * MIB  # for what is read and written at one time, with --max-body 1MiB
LAST = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
STATUSES = {100, 200, 400, 404, 405, 408, 413, 415, 431, 501, 505}
CODES = {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
LEAKS = re.compile(rb"Traceback|site-packages|onnxruntime_src|\.py\b|/tmp/|model\.onnx")
SENT = messages("http")


@pytest.fixture(scope="module")
def server(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Iterator[Running]:
    """A server with little patience; at its end it must still be well, small, and have nothing to complain of."""
    server = serve(
        bundles(sorts()), "--grpc-port", "0", "--max-body", "1MiB", "--header-timeout", "200ms",
        "--body-timeout", "200ms", "--idle-timeout", "200ms",
    )  # fmt: skip
    for message in SENT:
        exchange(server, [message])
    before = server.peak_memory
    yield server
    assert server.get("/v2/health/ready").status == 200
    assert server.peak_memory < before + ROOM
    assert server.end() == 0
    assert server.process.stderr is not None
    assert "failed" not in (log := server.process.stderr.read()), log


def exchange(server: Running, sent: list[bytes]) -> list[bytes]:
    """Send each on a connection of its own, all at the same time, and read until the server ends them all."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.socket()) for _ in sent]
        for client, data in zip(clients, sent, strict=True):
            with contextlib.suppress(ConnectionError):  # it has refused already
                client.sendall(data + LAST)
        return [read_to_end(client) for client in clients]


def read_to_end(client: socket.socket) -> bytes:
    """Everything that comes; a server that does not end the connection fails here with a timeout."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(1 << 16):
            received += piece
    return received


def statuses(received: bytes) -> list[int]:
    """The status of every answer; fails when they are not whole answers one after another."""
    found = []
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        assert end
        assert head.startswith(b"HTTP/1.1 ")
        found.append(int(head[9:12]))
        length = re.search(rb"\r\ncontent-length: (\d+)", head)
        size = int(length[1]) if length else 0
        assert len(rest) >= size
        if found[-1] >= 400:
            assert rest.startswith(b'{"error":"')
        received = rest[size:]
    return found


def test_the_corpus_is_answered_as_it_is(server: Running) -> None:
    for received in exchange(server, SENT):
        found = statuses(received)
        assert set(found) <= {100, 200, 400}  # 400: the repository is not offered
        assert found[-1] == 200


@for_its_time
@settings(max_examples=20, deadline=None)
@given(st.lists(damaged(SENT) | damaged(SENT).map(with_true_length), min_size=1, max_size=16))
def test_damaged_bytes_get_whole_answers_and_an_end(server: Running, sent: list[bytes]) -> None:
    for received in exchange(server, sent):
        found = set(statuses(received))
        assert found <= STATUSES or (500 in found and b"NonFiniteOutput" in received), received
        assert not LEAKS.search(received), received


@pytest.fixture(scope="module")
def grpc(server: Running) -> Iterator[Client]:
    with Client(server.grpc) as client:
        yield client


@pytest.mark.parametrize("raw", messages("grpc"))
def test_the_corpus_of_grpc_is_answered_as_it_is(grpc: Client, raw: bytes) -> None:
    assert grpc.ask(INFER, raw)


TYPES = {"x": "FP32", "id": "UINT64", "text": "BYTES", "flag": "BOOL"}  # of `fuzzing.sorts`
OUTPUTS = ("y", "id_out", "text_out", "flag_out")


@st.composite
def composed(draw: st.DrawFn) -> bytes:
    """A message whose fields are right in form and wrong in what they say."""
    request = new_request(id=draw(st.text(max_size=300)))
    sizes = st.just(2) | st.integers(-(2**63), 2**63 - 1)
    for name in draw(st.lists(st.sampled_from([*TYPES, "z"]), max_size=6)):
        datatype = draw(st.sampled_from([TYPES.get(name, ""), "FP16", "INT8"]))
        tensor = request.inputs.add(name=name, datatype=datatype, shape=draw(st.lists(sizes, max_size=4)))
        tensor.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=4)))
        tensor.contents.uint64_contents.extend(draw(st.lists(st.integers(0, 2**64 - 1), max_size=3)))
        tensor.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=4), max_size=3)))
        tensor.contents.bool_contents.extend(draw(st.lists(st.booleans(), max_size=3)))
    request.raw_input_contents.extend(draw(st.lists(st.binary(max_size=20), max_size=5)))
    for name in draw(st.lists(st.sampled_from([*OUTPUTS, ""]), max_size=3)):
        output = request.outputs.add(name=name)
        if draw(st.booleans()):
            output.parameters["classification"].int64_param = draw(st.integers(-(2**63), 2**63 - 1))
    if draw(st.booleans()):
        request.parameters["timeout"].double_param = draw(st.floats())
    raw: bytes = request.SerializeToString()
    return raw


@for_its_time
@settings(max_examples=100, deadline=None)
@given(raw=damaged(messages("grpc")) | composed())
def test_damaged_messages_get_an_answer_or_a_status(grpc: Client, raw: bytes) -> None:
    try:
        grpc.ask(INFER, raw, timeout=DEADLINE)
    except Refusal as refusal:
        assert refusal.code in CODES, refusal
        assert not LEAKS.search(refusal.sentence.encode()), refusal
