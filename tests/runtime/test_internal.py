"""The metrics port of a real server: probes, metrics, evidence, shadowing, golden samples; and who may ask for them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.runtime import small_bundles as small
from tests.runtime.running_server import TOKEN, RunningServer, numbers, serve
from tests.waiting import wait_until

from tidegate.plan.samples import parse_sample
from tidegate_runtime import metrics_http
from tidegate_runtime.admission import Admission
from tidegate_runtime.counters import Counters
from tidegate_runtime.health import Health, Phase
from tidegate_runtime.interfaces import Parts
from tidegate_runtime.internal import InternalServer
from tidegate_runtime.settings import parse
from tidegate_runtime.shadow import ShadowSender
from tidegate_runtime.watchdog import Watchdog

ONE = numbers([1.0, 2.0, 3.0, 4.0])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("stable")
    bundle = small.write_bundle(folder / "bundle", small.linear(), small.linear_samples())
    with serve(bundle, folder / "run", "--revision", "r1") as running:
        yield running.until_ready()


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The next version: its second class always loses, and its scores are a little off."""
    folder = tmp_path_factory.mktemp("candidate")
    weights = small.WEIGHTS[:, [2, 1, 0]].copy()
    bundle = small.write_bundle(folder / "bundle", small.linear(weights), version="v2")
    with serve(bundle, folder / "run", "--revision", "r2") as running:
        yield running.until_ready()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
def test_a_ready_server_says_so_to_every_probe(server: RunningServer, path: str) -> None:
    answer = server.ask("GET", path, token="")

    assert (answer.status, answer.body) == (200, b"ok\n")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/internal/evidence"),
        ("PUT", "/internal/shadow"),
        ("PUT", "/internal/rules"),
        ("POST", "/internal/compare"),
        ("POST", "/internal/golden"),
    ],
)
@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1]])
def test_internal_endpoints_do_nothing_without_the_token(
    server: RunningServer, method: str, path: str, token: str
) -> None:
    answer = server.ask(method, path, b"{}" if method != "GET" else None, token=token)

    assert answer.status == 401
    assert TOKEN.encode() not in answer.body


def test_without_a_token_file_nobody_gets_in(tmp_path: Path, server: RunningServer) -> None:
    bundle = server.folder.parent / "bundle"
    with serve(bundle, tmp_path, "--internal-token-file", str(tmp_path / "none")) as other:
        assert other.ask("GET", "/internal/evidence").status == 401
        assert other.ask("GET", "/internal/evidence", token="").status == 401


def test_evidence_tells_of_users_and_pinned_requests_apart(server: RunningServer) -> None:
    before = server.evidence()
    assert server.infer(ONE).status == 200
    assert server.infer({"inputs": []}).status == 400

    seen = server.until(lambda e: e["requests"]["n"] == before["requests"]["n"] + 1, "a request in the evidence")

    assert (seen["model"], seen["revision"], seen["instance"]) == ("fraud", "r1", before["instance"])
    assert seen["clientErrors"] == before["clientErrors"] + 1
    assert seen["pinned"]["n"] == before["pinned"]["n"]
    assert parse_sample(seen).revision == "r1"


def test_metrics_can_be_read_by_prometheus_without_a_token(server: RunningServer) -> None:
    server.infer(ONE)

    answer = server.ask("GET", "/metrics", token="")

    found = {family.name for family in text_string_to_metric_families(answer.body.decode())}
    assert {"tidegate_requests", "tidegate_request_duration_seconds", "tidegate_golden_worst_error"} <= found


def test_golden_samples_run_as_synthetic_traffic(server: RunningServer) -> None:
    before = server.evidence()

    answer = server.ask("POST", "/internal/golden", b'{"rate": 200, "count": 20}')

    assert answer.status == 202
    seen = server.until(lambda e: e["synthetic"]["n"] >= before["synthetic"]["n"] + 20, "synthetic requests")
    assert seen["synthetic"]["errors"]["k"] == 0


def test_a_bundle_without_samples_cannot_run_them(candidate: RunningServer) -> None:
    assert candidate.ask("POST", "/internal/golden", b'{"rate": 1, "count": 1}').status == 409


def test_shadowed_requests_are_compared_by_the_candidate(server: RunningServer, candidate: RunningServer) -> None:
    rules = {"top1": True, "outputs": [{"name": "scores", "atol": 0.05, "rtol": 0}]}
    assert candidate.ask("PUT", "/internal/rules", json.dumps(rules).encode()).status == 204
    aim = {"target": f"http://127.0.0.1:{candidate.metrics}", "percent": 100, "ttlSeconds": 30, "token": TOKEN}
    assert server.ask("PUT", "/internal/shadow", json.dumps(aim).encode()).status == 204
    before = candidate.evidence()

    for _ in range(10):
        assert server.infer(ONE).status == 200
        assert server.infer(numbers([0.0] * 4, [0.0] * 4)).status == 200

    seen = candidate.until(lambda e: e["divergence"]["n"] >= 20, "twenty comparisons")["divergence"]
    assert server.ask("PUT", "/internal/shadow", b'{"percent": 0}').status == 204
    # Every second request is all zeros: equal in both versions.
    assert seen["n"] == 20
    assert seen["top1"]["k"] == 10
    assert (seen["outputs"]["scores"]["k"], seen["outputs"]["scores"]["worst"]) == (10, pytest.approx(2.0))
    assert candidate.evidence()["requests"]["n"] == before["requests"]["n"]
    server.infer(ONE)
    assert candidate.evidence()["divergence"]["n"] == 20


def test_a_candidate_that_is_gone_costs_the_users_nothing(server: RunningServer) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = closed.getsockname()[1]
        aim = {"target": f"http://127.0.0.1:{port}", "percent": 100, "ttlSeconds": 30, "token": "x"}
        before = server.evidence()["divergence"]["dropped"]
        server.ask("PUT", "/internal/shadow", json.dumps(aim).encode())

        assert all(server.infer(ONE).status == 200 for _ in range(5))

        server.until(lambda e: e["divergence"]["dropped"] == before + 5, "dropped shadows in the evidence")
    server.ask("PUT", "/internal/shadow", b'{"percent": 0}')


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("POST", "/livez", b"", 405),
        ("GET", "/internal/nowhere", None, 404),
        ("PUT", "/internal/shadow", b"{", 400),
        ("PUT", "/internal/rules", b"[]", 400),
        ("POST", "/internal/compare", b"junk", 400),
        ("POST", "/internal/golden", b"{}", 400),
        ("PUT", "/internal/rules", b" " * 65 * 1024, 413),
        ("GET", "/" + "x" * 20_000, None, 413),
    ],
)
def test_requests_that_mean_nothing_get_a_status_of_their_own(
    server: RunningServer, method: str, path: str, body: bytes | None, status: int
) -> None:
    assert server.ask(method, path, body).status == status


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/debug", "/debug/", "/debug/pprof/", "/debug/vars", "/debug/requests"])
def test_nothing_answers_below_debug_on_any_port(server: RunningServer, method: str, path: str) -> None:
    body = b"{}" if method == "POST" else None

    assert [server.ask(method, path, body, port=port).status for port in (server.http, server.metrics)] == [404, 404]


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nA: b\r\n" * 3000])
def test_bytes_that_are_no_request_close_the_connection_and_nothing_else(server: RunningServer, junk: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.metrics), timeout=5) as connection:
        try:
            connection.sendall(junk)
            while connection.recv(4096):
                pass
        except ConnectionError:
            pass  # closed with bytes unread
    assert server.ask("GET", "/livez").status == 200


def test_one_connection_can_ask_many_times(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.metrics), timeout=5) as connection:
        for _ in range(3):
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(4096).endswith(b"ok\n")


def test_a_port_that_is_taken_ends_the_server_with_one_line(tmp_path: Path, server: RunningServer) -> None:
    bundle = server.folder.parent / "bundle"
    with pytest.raises(AssertionError) as ended, serve(bundle, tmp_path, "--metrics-port", str(server.metrics)):
        pass

    assert '"reason": "PortTaken"' in str(ended.value)
    assert json.loads((tmp_path / "termination-log").read_text())["reason"] == "PortTaken"


def test_the_server_imports_nothing_heavy() -> None:
    heavy = (
        "pydantic",
        "boto3",
        "botocore",
        "rich",
        "click",
        "urllib3",
        "model_signing",
        "cryptography",
        "jwt",
        "onnx",
        "grpc",
    )
    code = f"import sys, tidegate_runtime.serve; print([name for name in {heavy!r} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "[]"


def test_every_thread_of_the_server_is_one_of_its_own() -> None:
    """ONNX Runtime's wheel starts a telemetry thread when it is imported, unless it is told not to before that."""
    code = (
        "import os, threading, tidegate_runtime.main, tidegate_runtime.serve;"
        "print(len(os.listdir('/proc/self/task')) - threading.active_count())"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "0"


def test_the_server_is_small(server: RunningServer) -> None:
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])

    assert pages * os.sysconf("SC_PAGE_SIZE") <= 90e6


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[int, Health, Watchdog]]:
    """The metrics port of a server whose loop is this test's own thread."""
    watchdog = Watchdog()
    health = Health(watchdog)
    health.phase = Phase.READY
    settings = parse(["--bundle", str(tmp_path), "--metrics-host", "127.0.0.1", "--metrics-port", "0"], {})
    parts = Parts(settings, health, Counters(), ShadowSender(), Admission(1), watchdog)
    server = InternalServer(parts)
    yield server.start(), health, watchdog
    server.stop()


def probe(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of one request on a new connection."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_run_that_does_not_obey_fails_liveness_and_readiness(alone: tuple[int, Health, Watchdog]) -> None:
    port, _, watchdog = alone
    lane, now = watchdog.lane(), time.monotonic()
    lane.begin(now + 1)

    watchdog.look(now + 100)

    assert probe(port, "/livez")[0] == 503
    assert b"RunStuck" in probe(port, "/livez")[1]
    assert probe(port, "/readyz")[0] == 503
    lane.end()
    watchdog.look(now + 101)
    assert probe(port, "/livez") == (200, b"ok\n")


@pytest.mark.parametrize(
    ("phase", "statuses"),
    [
        (Phase.STARTING, {"/livez": 200, "/startupz": 503, "/readyz": 503}),
        (Phase.READY, {"/livez": 200, "/startupz": 200, "/readyz": 200}),
        (Phase.DRAINING, {"/livez": 200, "/startupz": 200, "/readyz": 503}),
        (Phase.FAILED, {"/livez": 503, "/startupz": 503, "/readyz": 503}),
    ],
)
def test_every_phase_has_its_answer_to_every_probe(
    alone: tuple[int, Health, Watchdog], phase: Phase, statuses: dict[str, int]
) -> None:
    port, health, _ = alone
    health.phase = phase

    assert {path: probe(port, path)[0] for path in statuses} == statuses


def test_a_request_that_does_not_arrive_in_time_ends_its_connection(
    alone: tuple[int, Health, Watchdog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_http, "REQUEST_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", alone[0]), timeout=5) as slow:
        slow.sendall(b"GET /livez HTTP/1.1\r\nHost: ")

        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(100) == b""
    assert probe(alone[0], "/livez")[0] == 200


def test_one_connection_too_many_is_told_so_and_the_others_live_on(
    alone: tuple[int, Health, Watchdog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_http, "MAX_CONNECTIONS", 1)
    with socket.create_connection(("127.0.0.1", alone[0]), timeout=5) as first:
        first.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert first.recv(100).startswith(b"HTTP/1.1 200")
        with socket.create_connection(("127.0.0.1", alone[0]), timeout=5) as second:
            assert second.recv(100).startswith(b"HTTP/1.1 503")
        first.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert first.recv(100).startswith(b"HTTP/1.1 200")


def test_probes_are_answered_while_the_servers_loop_is_busy(alone: tuple[int, Health, Watchdog]) -> None:
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.extend(probe(alone[0], "/livez")[0] for _ in range(10)))
    asking.start()

    end = time.monotonic() + 10
    while asking.is_alive() and time.monotonic() < end:
        pass  # nothing but Python, as a busy loop would be

    assert answers == [200] * 10


def test_no_connection_is_opened_by_a_server_that_nobody_told_to(tmp_path: Path) -> None:
    """An audit hook in the process itself writes down every connect and every name looked up."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, sys\n"
        "log = os.open(os.environ['AUDIT_LOG'], os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
        "def hook(event, args):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto'):\n"
        "        os.write(log, (event + repr(args[1:]) + '\\n').encode())\n"
        "sys.addaudithook(hook)\n"
    )
    bundle = small.write_bundle(tmp_path / "bundle", small.linear(), small.linear_samples())
    audit = tmp_path / "audit"
    environment = {"PYTHONPATH": str(site), "AUDIT_LOG": str(audit)}
    with serve(bundle, tmp_path / "run", environment=environment) as running:
        running.until_ready()
        for _ in range(20):
            running.infer(ONE)
        running.ask("GET", "/metrics")
        wait_until(lambda: bool(running.evidence()["requests"]["n"]), "requests in the evidence")
        remote = outgoing_connections(running.process.pid, {running.http, running.metrics})

    assert audit.exists(), "the hook was not loaded"
    assert audit.read_text() == ""
    assert remote == []


def outgoing_connections(pid: int, own_ports: set[int]) -> list[str]:
    """TCP connections of a process that did not begin at one of its own ports, as the kernel sees them."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(str(entry.readlink()))
        except OSError:
            continue
    found = []
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local_port = int(fields[1].split(":")[1], 16)
        if f"socket:[{fields[9]}]" in sockets and local_port not in own_ports:
            found.append(line)
    return found
