"""The audit log and the access log: a line of JSON for each request, and nothing of what was asked or answered."""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.runtime import slow_model as slow
from tests.runtime import small_bundles as small
from tests.runtime.certificates import Files
from tests.runtime.conftest import DEADLINE, Running, read_line
from tests.runtime.grpc_client import SERVICE, Client, refused, typed
from tests.runtime.known_clients import TOKENS, bearer, lines
from tests.runtime.running_server import numbers
from tests.runtime.test_clients import REQUEST, metric
from tests.runtime.test_drain import wait_for_one_in_flight
from tests.runtime.test_start import failed
from tests.runtime.test_tls import ask
from tests.waiting import wait_until

Serve = Callable[..., Running]
BODY = json.dumps(numbers([1, 2, 3, 4])).encode()
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass
class Logged:
    """A server and its two logs."""

    server: Running
    folder: Path

    def audit(self, count: int) -> list[dict[str, Any]]:
        return self._lines("audit", count)

    def access(self, count: int) -> list[dict[str, Any]]:
        return self._lines("access", count)

    def _lines(self, name: str, count: int) -> list[dict[str, Any]]:
        """All lines, once there are `count`."""
        path = self.folder / name

        def found() -> list[str]:
            written = path.read_text().splitlines()
            return written if len(written) >= count else []

        written = wait_until(found, lambda: f"{count} lines in {path.read_text()}", DEADLINE)
        assert len(written) == count
        return [json.loads(line) for line in written]


@pytest.fixture
def logged(tmp_path: Path, bundles: Callable[..., Path], serve: Serve, grpc_on: tuple[str, ...]) -> Logged:
    (tmp_path / "clients").write_bytes(lines("ana", "ben"))
    server = serve(
        bundles(small.linear(), small.linear_samples()), "--revision", "r7", *grpc_on,
        "--auth-file", str(tmp_path / "clients"),
        "--audit-log", str(tmp_path / "audit"), "--access-log", str(tmp_path / "access"),
    )  # fmt: skip
    return Logged(server, tmp_path)


def test_a_request_is_one_line_that_says_who_did_what(logged: Logged) -> None:
    answer = logged.server.infer(BODY, headers=bearer("ana"))
    (line,) = logged.audit(1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "client": "ana", "model": "fraud", "revision": "r7", "protocol": "http", "scope": "infer", "code": 200,
        "bytesIn": len(BODY), "bytesOut": len(answer.body),
    }  # fmt: skip


def test_who_is_refused_is_there_too_and_probes_are_not(logged: Logged) -> None:
    server = logged.server
    server.infer(BODY)
    server.infer(BODY, headers=bearer("ben"))
    server.get("/v2/health/ready")
    server.get("/nowhere")
    server.ask("GET", "/v2/models/fraud", None, bearer("ben"))
    found = [(line["client"], line["scope"], line["code"]) for line in logged.audit(4)]
    assert found == [("", "infer", 401), ("ben", "infer", 403), ("", "unknown", 401), ("ben", "metadata", 200)]


def test_the_access_log_has_path_times_and_ids(logged: Logged) -> None:
    server = logged.server
    document = json.dumps({**numbers([1, 2, 3, 4]), "id": "42"}).encode()
    server.infer(document, headers={**bearer("ana"), "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    server.ask("GET", "/v2/models/fraud?x=1", None, {**bearer("ben"), "x-request-id": "of the proxy"})
    server.get("/v2/health/live")
    infer, metadata, live = logged.access(3)
    assert (infer["path"], infer["requestId"], infer["traceId"]) == ("/v2/models/fraud/infer", "42", TRACE)
    assert 0 <= infer["queueMs"] + infer["computeMs"] <= infer["totalMs"] < 1000 * DEADLINE
    assert (metadata["path"], metadata["requestId"]) == ("/v2/models/fraud?x=1", "of the proxy")
    assert (live["path"], live["scope"], live["client"]) == ("/v2/health/live", "", "")
    assert not {"queueMs", "traceId"} & (metadata.keys() | live.keys())


def test_over_grpc_the_same_is_written(logged: Logged) -> None:
    metadata = (*bearer("ana").items(), ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"))
    with Client(logged.server.grpc) as client:
        answer = client.ask(f"{SERVICE}/ModelInfer", REQUEST, metadata=metadata)
        refused(lambda: client.ask(f"{SERVICE}/ModelInfer", REQUEST))
        client.ask(f"{SERVICE}/ServerLive", b"")
    infer, stranger = logged.audit(2)
    assert (infer["client"], infer["protocol"], infer["scope"], infer["code"]) == ("ana", "grpc", "infer", 200)
    assert (infer["bytesIn"], infer["bytesOut"]) == (len(REQUEST), len(answer))
    assert (stranger["client"], stranger["code"], stranger["bytesOut"]) == ("", 401, 0)
    first = logged.access(3)[0]
    assert (first["path"], first["traceId"]) == (f"{SERVICE}/ModelInfer", TRACE)
    assert first["computeMs"] >= 0


def test_neither_what_was_asked_nor_what_was_answered_nor_a_token_is_written(logged: Logged) -> None:
    document = json.dumps(numbers([1234567, 2, 3, 4])).encode()
    answer = logged.server.infer(document, headers=bearer("ana"))
    logged.server.infer(document, headers={"authorization": "Bearer hunter2"})
    logged.access(2)
    written = (logged.folder / "access").read_text() + (logged.folder / "audit").read_text()
    largest = max(answer.json["outputs"][0]["data"])
    assert largest > 100_000  # "6.0" is in many a time
    for secret in ("1234567", str(largest), TOKENS["ana"], "hunter2"):
        assert secret not in written


def test_bytes_are_counted_as_they_came(logged: Logged) -> None:
    packed = gzip.compress(BODY)
    logged.server.infer(packed, headers={**bearer("ana"), "content-encoding": "gzip"})
    with logged.server.socket() as client:
        head = f"POST /v2/models/fraud/infer HTTP/1.1\r\nauthorization: Bearer {TOKENS['ana']}\r\n"
        client.sendall(f"{head}transfer-encoding: chunked\r\n\r\n{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
    assert [line["bytesIn"] for line in logged.audit(2)] == [len(packed), len(BODY)]


def test_what_is_no_http_is_a_line_too(logged: Logged) -> None:
    with logged.server.socket() as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 400")
    (line,) = logged.audit(1)
    assert (line["scope"], line["code"]) == ("unknown", 400)


def test_a_client_that_leaves_is_written_as_499(
    tmp_path: Path, bundles: Callable[..., Path], serve: Serve, grpc_on: tuple[str, ...]
) -> None:
    path = tmp_path / "audit"
    server = serve(
        bundles(slow.stepping(), [slow.sample()]), *grpc_on, "--audit-log", str(path),
    )  # fmt: skip
    body = json.dumps(slow.request(100 * slow.SHORT)).encode()
    with server.socket() as client:
        client.sendall(b"POST /v2/models/fraud/infer HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        wait_for_one_in_flight(server)
    wait_until(lambda: '"code":499' in path.read_text(), "the line", DEADLINE)
    with Client(server.grpc) as asking:
        call = asking.begin(typed("steps", "INT64", [1], int64_contents=[100 * slow.SHORT]))
        wait_for_one_in_flight(server)
        call.cancel()
        wait_until(lambda: path.read_text().count('"code":499') == 2, "the other line", DEADLINE)


def test_a_client_without_a_token_is_called_by_its_certificate(
    tmp_path: Path, bundles: Callable[..., Path], serve: Serve
) -> None:
    files, path = Files(tmp_path / "tls"), tmp_path / "audit"
    server = serve(bundles(small.linear()), *files.mutual, "--audit-log", str(path))
    assert ask(server, files.trusting(files.client("checkout"))).status == 200
    wait_until(lambda: '"client":"checkout"' in path.read_text(), "the line", DEADLINE)


def test_a_sample_is_a_share(tmp_path: Path, bundles: Callable[..., Path], serve: Serve) -> None:
    path = tmp_path / "access"
    server = serve(bundles(small.linear()), "--access-log", str(path), "--access-log-sample", "0.3")
    with server.socket() as client:
        ask_in_a_row(client, 20, times=50)
    assert server.end() == 0
    assert 200 < len(path.read_text().splitlines()) < 400  # 1,000 requests: seven standard deviations


def test_what_waits_is_written_when_the_server_ends(tmp_path: Path, bundles: Callable[..., Path], serve: Serve) -> None:
    path = tmp_path / "audit"
    server = serve(bundles(small.linear()), "--audit-log", str(path))
    assert server.infer(BODY).status == 200
    assert server.end() == 0
    assert len(path.read_text().splitlines()) == 1


def test_stdout_can_be_a_log(bundles: Callable[..., Path], serve: Serve) -> None:
    server = serve(bundles(small.linear()), "--audit-log", "-")
    server.infer(BODY)
    assert server.process.stdout is not None
    assert json.loads(read_line(server.process.stdout))["code"] == 200


def test_a_log_that_nobody_reads_costs_lines_and_no_request(
    tmp_path: Path, bundles: Callable[..., Path], serve: Serve
) -> None:
    path = tmp_path / "audit"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    server = serve(bundles(small.linear()), "--audit-log", str(path))
    with server.socket() as client:
        ask_in_a_row(client, 100, times=150)
    assert (metric(server, 'log_lines_dropped_total log="audit"') or 0) > 0
    assert server.end() == 0
    os.close(reader)


def test_a_log_that_cannot_be_opened_ends_it_with_a_reason(tmp_path: Path, bundles: Callable[..., Path]) -> None:
    code, words = failed(bundles(small.linear()), "--audit-log", str(tmp_path / "none" / "audit"))
    assert (code, words["reason"]) == (5, "LogUnwritable")


def ask_in_a_row(client: socket.socket, count: int, *, times: int) -> None:
    """So many requests at once, and again when they are answered."""
    for _ in range(times):
        client.sendall(b"GET /v2 HTTP/1.1\r\n\r\n" * count)
        got = b""
        while got.count(b"HTTP/1.1 200") < count:
            got += client.recv(65536)
