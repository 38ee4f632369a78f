"""Several processes that answer for one server: even shares, one set of counts, and what happens when one dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.runtime import known_clients
from tests.runtime import small_bundles as small
from tests.runtime.certificates import Files
from tests.runtime.drain_clients import REQUEST
from tests.runtime.running_server import TOKEN, RunningServer, numbers, serve
from tests.waiting import wait_until

WRONG = b"POST /v2/models/fraud/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
STATS = b"GET /v2/models/fraud/stats HTTP/1.1\r\nhost: x\r\n\r\n"
READY = b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers") / "bundle"
    return small.write_bundle(folder, small.linear(), small.linear_samples())


@pytest.fixture
def server(bundle: Path, tmp_path: Path) -> Iterator[RunningServer]:
    with serve(bundle, tmp_path, "--workers", "3") as running:
        yield running.until_ready()


def processes(server: RunningServer) -> list[int]:
    """The main process and its siblings."""
    listed = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    return [server.process.pid, *map(int, listed.split())]


def connections_of(process: int, port: int) -> int:
    """Open connections of a process to the server's port, as the kernel sees them."""
    links = [str(entry.readlink()) for entry in Path(f"/proc/{process}/fd").iterdir() if entry.is_symlink()]
    rows = [line.split() for line in Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]]
    ours = {f"socket:[{row[9]}]" for row in rows if int(row[1].split(":")[1], 16) == port and row[3] == "01"}
    return sum(link in ours for link in links)


@contextlib.contextmanager
def clients(server: RunningServer, count: int) -> Iterator[list[socket.socket]]:
    """Connections, each of which has asked once and is kept."""
    with contextlib.ExitStack() as held:
        opened = []
        for _ in range(count):
            client = held.enter_context(socket.create_connection(("127.0.0.1", server.http), timeout=20))
            opened.append(client)
            assert ask(client)[0] == 200
        yield opened


def ask(client: socket.socket, request: bytes = REQUEST) -> tuple[int, Any]:
    """Status and document of one answer on a kept connection."""
    client.sendall(request)
    content = b""
    while b"\r\n\r\n" not in content:
        content += receive(client)
    head, _, body = content.partition(b"\r\n\r\n")
    while len(body) < int(head.lower().split(b"content-length: ")[1].split(b"\r")[0]):
        body += receive(client)
    return int(head[9:12]), json.loads(body)


def receive(client: socket.socket) -> bytes:
    content = client.recv(65536)
    if not content:
        raise ConnectionResetError
    return content


def metric(server: RunningServer, start: str) -> float:
    """The value of the one sample whose line begins so."""
    lines = server.ask("GET", "/metrics").body.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))


def test_connections_are_shared_evenly_and_those_that_end_make_room(server: RunningServer) -> None:
    with clients(server, 9) as opened:
        assert [connections_of(process, server.http) for process in processes(server)] == [3, 3, 3]

        for client in opened[0::3]:  # all of them of one process
            client.close()
        wait_until(lambda: metric(server, "tidegate_connections{") == 6, "six connections")
        with clients(server, 3):
            assert [connections_of(process, server.http) for process in processes(server)] == [3, 3, 3]


def test_all_counts_are_those_of_one_server(server: RunningServer) -> None:
    with clients(server, 6) as opened:
        for _ in range(9):
            assert {ask(client)[0] for client in opened} == {200}
        assert {ask(client, WRONG)[0] for client in opened} == {400}
        seen = server.until(lambda found: found["requests"]["n"] == 60, "sixty requests in the evidence")
        wait_until(lambda: metric(server, "tidegate_requests_total{") == 66, "all requests in the metrics")
        everywhere = wait_until(lambda: same_statistics(opened), "the same statistics from every process")

    assert sum(seen["requests"]["latency"]["counts"]) == 60
    assert seen["clientErrors"] == 6
    assert metric(server, "tidegate_compute_duration_seconds_count") == 60
    assert metric(server, "tidegate_batch_requests_sum") == 60
    assert metric(server, "tidegate_request_duration_seconds_count") == 60
    assert (everywhere["inference_count"], everywhere["execution_count"]) == (60, 60)
    assert everywhere["inference_stats"]["fail"]["count"] == 6
    assert (metric(server, "tidegate_processes"), metric(server, "tidegate_process_restarts_total")) == (3, 0)


def same_statistics(opened: Sequence[socket.socket]) -> Any:
    """What all processes say, when all of them say the same."""
    found = [ask(client, STATS)[1]["model_stats"][0] for client in opened]
    return found[0] if all(one == found[0] for one in found) else None


def test_a_sibling_that_dies_is_replaced_and_what_it_counted_stays(server: RunningServer) -> None:
    with clients(server, 6):
        before = server.until(lambda found: found["requests"]["n"] == 6, "six requests in the evidence")
    victim = processes(server)[1]

    os.kill(victim, signal.SIGKILL)

    wait_until(lambda: metric(server, "tidegate_process_restarts_total") == 1, "a new process")
    wait_until(lambda: metric(server, "tidegate_processes{") == 3, "three processes")
    with clients(server, 6):
        assert [connections_of(process, server.http) for process in processes(server)] == [2, 2, 2]
        after = server.until(lambda found: found["requests"]["n"] == 12, "twelve requests in the evidence")
    assert victim not in processes(server)
    assert (after["instance"], after["startTime"]) == (before["instance"], before["startTime"])
    assert after["until"] >= before["until"]
    assert "a sibling process died" in server.log
    assert "SIGKILL" in server.log


def test_a_sibling_that_dies_again_and_again_ends_the_server_with_its_reason(bundle: Path, tmp_path: Path) -> None:
    with serve(bundle, tmp_path, "--workers", "2") as running:
        running.until_ready()

        def killed_to_the_end() -> bool:
            with contextlib.suppress(OSError):
                for sibling in processes(running)[1:]:
                    os.kill(sibling, signal.SIGKILL)
            return running.process.poll() is not None

        wait_until(killed_to_the_end, "the end of the server", 60)
        words = json.loads((tmp_path / "termination-log").read_text())

    assert running.process.returncode == 5
    assert words["reason"] == "SiblingDied"
    assert "was ended by SIGKILL: give the pod memory for that many copies" in words["message"]


def test_a_sibling_that_does_not_get_ready_keeps_the_server_from_it(tmp_path: Path) -> None:
    slow_to_load = small.write_bundle(tmp_path / "bundle", small.long_chain(20_000))
    with serve(slow_to_load, tmp_path / "run", "--workers", "2") as running:
        sibling = wait_until(lambda: processes(running)[1:], "a sibling", 60)[0]
        os.kill(sibling, signal.SIGKILL)

        assert running.process.wait(timeout=20) == 5
        words = json.loads((tmp_path / "run" / "termination-log").read_text())
    assert words["reason"] == "SiblingDied"


def test_siblings_do_not_outlive_a_server_that_is_killed(server: RunningServer) -> None:
    siblings = processes(server)[1:]
    assert len(siblings) == 2

    server.process.kill()
    server.process.wait(timeout=20)

    wait_until(lambda: not any(is_alive(sibling) for sibling in siblings), "the end of the siblings")


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_signal_to_a_sibling_is_not_its_end(server: RunningServer) -> None:
    siblings = processes(server)[1:]
    for sibling in siblings:
        os.kill(sibling, signal.SIGTERM)
        os.kill(sibling, signal.SIGINT)

    with clients(server, 6):
        assert processes(server)[1:] == siblings
        assert [connections_of(process, server.http) for process in processes(server)] == [2, 2, 2]


def test_while_the_server_drains_no_process_says_that_it_is_ready(bundle: Path, tmp_path: Path) -> None:
    with serve(bundle, tmp_path, "--workers", "2", "--drain-delay", "30s", "--drain", "60s") as running:
        running.until_ready()
        assert readiness(running) == {200}

        running.process.send_signal(signal.SIGTERM)

        wait_until(lambda: running.ask("GET", "/readyz").status == 503, "draining")
        wait_until(lambda: readiness(running) == {503}, "that every process says so")


def readiness(server: RunningServer) -> set[int]:
    """What new connections are told, two of each process."""
    with contextlib.ExitStack() as held:
        opened = [held.enter_context(socket.create_connection(("127.0.0.1", server.http), timeout=20)) for _ in "1234"]
        return {ask(client, READY)[0] for client in opened}


def test_the_connection_cap_is_that_of_all_processes(bundle: Path, tmp_path: Path) -> None:
    with serve(bundle, tmp_path, "--workers", "2", "--max-connections", "4") as running:
        running.until_ready()
        with clients(running, 4):
            refused = socket.create_connection(("127.0.0.1", running.http), timeout=20)
            with refused:
                assert refused.recv(4096).startswith(b"HTTP/1.1 503")
        wait_until(lambda: metric(running, "tidegate_connections{") == 0, "no connections")
        with clients(running, 4):
            assert metric(running, "tidegate_connections{") == 4


def test_a_target_that_was_named_before_the_server_was_ready_gets_what_every_process_answers(
    bundle: Path, tmp_path: Path
) -> None:
    with serve(bundle, tmp_path / "candidate") as candidate:
        candidate.until_ready()
        with serve(bundle, tmp_path / "stable", "--workers", "2") as stable:
            aim_at(candidate, stable)
            stable.until_ready()

            with clients(stable, 6):
                wait_until(lambda: shown(candidate) == 6, "six of six requests shown")


def test_what_every_process_answers_is_shown_to_the_candidate(bundle: Path, tmp_path: Path) -> None:
    with (
        serve(bundle, tmp_path / "stable", "--workers", "2") as stable,
        serve(bundle, tmp_path / "candidate", "--workers", "2") as candidate,
    ):
        stable.until_ready()
        candidate.until_ready()
        aim_at(candidate, stable)

        def all_are_shown() -> bool:
            """The siblings hear of it a moment later."""
            before = candidate.evidence()["divergence"]["n"]
            with clients(stable, 6):
                pass
            return bool(wait_until(lambda: shown(candidate) - before, "comparisons") == 6)

        wait_until(all_are_shown, "six of six requests shown")
        assert candidate.evidence()["divergence"]["top1"]["k"] == 0


def aim_at(candidate: RunningServer, stable: RunningServer) -> None:
    aim = {"target": f"http://127.0.0.1:{candidate.metrics}", "percent": 100, "ttlSeconds": 30, "token": TOKEN}
    assert stable.ask("PUT", "/internal/shadow", json.dumps(aim).encode()).status == 204


def shown(candidate: RunningServer) -> int:
    return int(candidate.evidence()["divergence"]["n"])


def test_every_process_knows_the_clients_and_writes_the_audit_log(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "clients").write_bytes(known_clients.lines("ana"))
    flags = ("--auth-file", str(tmp_path / "clients"), "--audit-log", str(tmp_path / "audit"))
    header = f"authorization: {known_clients.bearer('ana')['authorization']}\r\n\r\n".encode()
    known = REQUEST.replace(b"\r\n\r\n", b"\r\n" + header, 1)
    with serve(bundle, tmp_path / "run", "--workers", "2", *flags) as running, contextlib.ExitStack() as held:
        running.until_ready()
        opened = [held.enter_context(socket.create_connection(("127.0.0.1", running.http), timeout=20)) for _ in "1234"]

        assert [ask(client, known)[0] for client in opened] == [200] * 4
        assert [ask(client)[0] for client in opened] == [401] * 4

        assert [connections_of(process, running.http) for process in processes(running)] == [2, 2]
        wait_until(lambda: metric(running, "tidegate_access_refused_total") == 4, "four refusals in the metrics")
        lines = wait_until(lambda: audited(tmp_path / "audit", 8), "eight lines of the audit log")
    assert sorted(line["client"] for line in lines if line["code"] == 200) == ["ana"] * 4


def audited(file: Path, count: int) -> list[Any] | None:
    lines = file.read_text().splitlines()
    return [json.loads(line) for line in lines] if len(lines) == count else None


def test_handshakes_that_fail_in_a_sibling_are_counted_and_leave_nothing_behind(bundle: Path, tmp_path: Path) -> None:
    files = Files(tmp_path / "tls")
    trusting = ssl.create_default_context(cafile=str(files.ca))
    with serve(bundle, tmp_path / "run", "--workers", "2", *files.flags) as running, contextlib.ExitStack() as held:
        running.until_ready()
        for _ in range(4):
            plain = held.enter_context(socket.create_connection(("127.0.0.1", running.http), timeout=20))
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        wait_until(lambda: metric(running, "tidegate_tls_handshakes_failed_total") == 4, "four failed handshakes")
        wait_until(lambda: metric(running, "tidegate_connections{") == 0, "no connections")

        for _ in range(4):
            client = socket.create_connection(("127.0.0.1", running.http), timeout=20)
            assert ask(held.enter_context(trusting.wrap_socket(client, server_hostname="localhost")))[0] == 200

        assert [connections_of(process, running.http) for process in processes(running)] == [2, 2]


def test_one_process_is_enough_where_nobody_asks_for_more(bundle: Path, tmp_path: Path) -> None:
    with serve(bundle, tmp_path) as running:
        running.until_ready()
        assert running.infer(numbers([1.0, 2.0, 3.0, 4.0])).status == 200
        assert processes(running) == [running.process.pid]
        assert metric(running, "tidegate_processes{") == 1
