"""Connections as good and bad clients make them: kept, pipelined, chunked, slow, oversized, cut off."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.runtime import small_bundles as small
from tests.runtime.certificates import Files
from tests.runtime.conftest import DEADLINE, Running
from tests.waiting import wait_until

from tidegate_runtime.http import LINGER_SECONDS

PATH = "/v2/models/fraud/infer"
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}).encode()


@pytest.fixture(scope="module")
def strict(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    """A server with little patience and little room."""
    return serve(
        bundles(small.linear()), "--header-timeout", "300ms", "--body-timeout", "300ms", "--idle-timeout", "600ms",
        "--max-body", "100KiB", "--max-connections", "8",
    )  # fmt: skip


def post(body: bytes = BODY, *headers: str, version: str = "1.1") -> bytes:
    lines = [f"POST {PATH} HTTP/{version}", "host: x", *headers]
    if not any(header.lower().startswith("transfer-encoding") for header in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_answers(client: socket.socket, count: int) -> list[tuple[int, dict[str, str], bytes]]:
    """Exactly `count` answers from a socket."""
    found = []
    stream = client.makefile("rb")
    for _ in range(count):
        status = int(stream.readline().split()[1])
        headers = {}
        while (line := stream.readline().strip()) != b"":
            name, value = line.decode().split(": ", 1)
            headers[name] = value
        found.append((status, headers, stream.read(int(headers["content-length"]))))
    return found


def closed(client: socket.socket) -> bool:
    """Whether the server ends the connection within the deadline."""
    with contextlib.suppress(ConnectionResetError):
        while client.recv(65536):
            pass
    return True


def send(server: Running, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
    with server.socket() as client:
        for part in parts:
            client.sendall(part)
        return read_answers(client, 1)[0]


def test_a_connection_is_kept_for_the_next_request(fraud: Running) -> None:
    with fraud.socket() as client:
        for _ in range(3):
            client.sendall(post())
            status, headers, _ = read_answers(client, 1)[0]
            assert status == 200
            assert "connection" not in headers


def test_pipelined_requests_are_answered_in_order(fraud: Running) -> None:
    bodies = [BODY[:-1] + f', "id": "{index}"}}'.encode() for index in range(100)]
    with fraud.socket() as client:
        client.sendall(b"".join(post(body) for body in bodies))
        answers = read_answers(client, len(bodies))
    assert [json.loads(body)["id"] for _, _, body in answers] == [str(index) for index in range(100)]


def test_a_bad_request_between_good_ones_spoils_only_itself(fraud: Running) -> None:
    with fraud.socket() as client:
        client.sendall(post() + post(b"{") + b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n" + post())
        assert [status for status, _, _ in read_answers(client, 4)] == [200, 400, 404, 200]


def test_a_request_may_arrive_byte_by_byte(fraud: Running) -> None:
    with fraud.socket() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post():
            client.send(bytes([byte]))
        assert read_answers(client, 1)[0][0] == 200


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_chunked_body_is_read(fraud: Running, size: int) -> None:
    parts = [BODY[start : start + size] for start in range(0, len(BODY), size)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    assert send(fraud, post(b"", "transfer-encoding: chunked"), chunks)[0] == 200


def test_a_trailer_is_read_and_means_nothing(fraud: Running) -> None:
    chunks = b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)
    trailer = b"inference-header-content-length: 3\r\n\r\n"
    assert send(fraud, post(b"", "transfer-encoding: chunked"), chunks, trailer)[0] == 200


@pytest.mark.parametrize("endless", [b"x-long: ", b"1;long="], ids=["trailer", "chunk extension"])
def test_what_is_no_body_is_limited_like_a_header(fraud: Running, endless: bytes) -> None:
    start = b"0\r\n" if endless.startswith(b"x") else b""
    assert send(fraud, post(b"", "transfer-encoding: chunked"), start + endless + b"a" * 70_000)[0] == 431


def test_expect_100_continue_is_answered_before_the_body(fraud: Running) -> None:
    with fraud.socket() as client:
        head, body = post(BODY, "expect: 100-continue").split(b"\r\n\r\n", 1)
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert read_answers(client, 1)[0][0] == 200


def test_expect_100_continue_is_refused_at_once_when_the_path_is_wrong(fraud: Running) -> None:
    head = post(BODY, "expect: 100-continue").split(b"\r\n\r\n", 1)[0].replace(b"fraud", b"other")
    status, headers, _ = send(fraud, head + b"\r\n\r\n")
    assert (status, headers["connection"]) == (404, "close")


def test_http_1_0_is_answered_and_closed_unless_it_asks_to_be_kept(fraud: Running) -> None:
    with fraud.socket() as client:
        client.sendall(post(BODY, version="1.0"))
        status, headers, _ = read_answers(client, 1)[0]
        assert (status, headers["connection"]) == (200, "close")
        assert closed(client)
    with fraud.socket() as client:
        client.sendall(post(BODY, "connection: keep-alive", version="1.0") * 2)
        assert [headers["connection"] for _, headers, _ in read_answers(client, 2)] == ["keep-alive"] * 2


def test_connection_close_is_honoured(fraud: Running) -> None:
    with fraud.socket() as client:
        client.sendall(post(BODY, "connection: close"))
        assert read_answers(client, 1)[0][1]["connection"] == "close"
        assert closed(client)


@pytest.mark.parametrize("secured", [False, True])
def test_who_reads_slowly_gets_the_whole_of_a_last_answer(
    tmp_path: Path, bundles: Callable[..., Path], serve: Callable[..., Running], secured: bool
) -> None:
    """It is larger than what the kernel holds, and nothing of it is read for longer than the server lingers."""
    files = Files(tmp_path)
    server = serve(bundles(small.linear()), "--max-batch-request", "1000000", *(files.flags if secured else ()))
    rows = 400_000
    text = json.dumps({
        "inputs": [{"name": "x", "shape": [rows, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16 * rows}}],
        "parameters": {"binary_data_output": True},
    }).encode()  # fmt: skip
    sent = post(text + bytes(16 * rows), "connection: close", f"inference-header-content-length: {len(text)}")
    plain = server.socket()
    with files.trusting().wrap_socket(plain, server_hostname="localhost") if secured else plain as client:
        client.sendall(sent)
        wait_until(lambda: select.select([client], [], [], 0)[0], "the answer begins")
        end = time.monotonic() + 2 * LINGER_SECONDS
        wait_until(lambda: time.monotonic() > end, "a slow reader has had its nap")
        ((status, _, content),) = read_answers(client, 1)
    assert (status, len(content) > 20 * rows) == (200, True)


def test_an_upgrade_is_ignored(fraud: Running) -> None:
    asked = b"GET /v2 HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    assert send(fraud, asked)[0] == 200


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v2\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /v2/models/fraud/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_gets_400_and_the_end(fraud: Running, nonsense: bytes) -> None:
    with fraud.socket() as client:
        client.sendall(nonsense)
        status, headers, body = read_answers(client, 1)[0]
        assert (status, headers["connection"]) in {(400, "close"), (404, "close"), (505, "close")}
        assert json.loads(body)["error"]
        assert closed(client)


def test_a_body_in_an_encoding_that_is_not_known_is_refused(fraud: Running) -> None:
    assert send(fraud, post(BODY, "content-encoding: br"))[0] == 415


def test_a_header_that_is_too_large_is_refused(fraud: Running) -> None:
    assert send(fraud, post(BODY, "x-long: " + "a" * 70_000))[0] == 431
    assert send(fraud, f"GET /{'a' * 70_000}".encode())[0] == 431


def test_a_body_above_the_limit_is_refused_before_it_is_sent(strict: Running) -> None:
    head = post(b"").replace(b"content-length: 0", b"content-length: 102401")
    status, headers, body = send(strict, head)
    assert (status, headers["connection"]) == (413, "close")
    assert json.loads(body)["error"] == "the body is larger than 102400 bytes"


def test_a_chunked_body_above_the_limit_is_refused_while_it_arrives(strict: Running) -> None:
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    assert send(strict, post(b"", "transfer-encoding: chunked"), *[chunk] * 7)[0] == 413


def test_a_short_refused_body_is_read_and_the_connection_kept(fraud: Running) -> None:
    with fraud.socket() as client:
        client.sendall(post().replace(b"/fraud/", b"/other/") + post())
        assert [status for status, _, _ in read_answers(client, 2)] == [404, 200]


def test_a_slow_header_and_a_slow_body_run_out_of_time(strict: Running) -> None:
    for part in (post()[:20], post()[:-5]):
        with strict.socket() as client:
            client.sendall(part)
            status, _, body = read_answers(client, 1)[0]
            assert status == 408
            assert json.loads(body)["error"] == "the request took too long to arrive"
            assert closed(client)


def test_a_quiet_connection_is_closed_after_its_idle_time(strict: Running) -> None:
    with strict.socket() as client:
        client.sendall(post())
        read_answers(client, 1)
        assert closed(client)


def test_one_connection_too_many_is_told_so(strict: Running) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(strict.socket()) for _ in range(8)]
        for client in clients:
            client.sendall(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n")
            read_answers(client, 1)
        extra = stack.enter_context(strict.socket())
        status, headers, body = read_answers(extra, 1)[0]
        assert (status, headers["connection"]) == (503, "close")
        assert json.loads(body)["error"] == "too many connections"


def wait_for(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        if found := condition():
            return found
    raise AssertionError("it did not come to this in time")


def test_of_clients_that_leave_before_their_answer_no_request_stays_in_flight_or_queued(fraud: Running) -> None:
    def metric(name: str) -> float:
        lines = fraud.probe("/metrics").body.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    for _ in range(20):
        with fraud.socket() as client:
            client.sendall(post())
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", fraud.http, timeout=DEADLINE)) as other:
        other.request("POST", PATH, BODY)
        assert other.getresponse().status == 200
    assert wait_for(lambda: metric("tidegate_requests_in_flight") == 0 == metric("tidegate_requests_queued"))
