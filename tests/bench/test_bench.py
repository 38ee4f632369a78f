"""`tidegate bench` as it is typed, on servers whose capacity is known and on real ones."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.bench.paced_server import Behaviour, Paced, paced
from tests.bundle.web import authority
from tests.runtime import slow_model as slow
from tests.runtime import small_bundles as small
from tests.unit.client.scripted_server import Answer, following, said
from tests.waiting import wait_until

TIDEGATE = str(Path(sys.executable).with_name("tidegate"))
DEADLINE = 240.0  # of one measurement, on a machine whose cores others load
pytestmark = pytest.mark.timeout(2 * DEADLINE)
METADATA = {"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}], "outputs": []}


def bench(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TIDEGATE, "bench", *arguments], env={**os.environ, **(environment or {})}, capture_output=True, text=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip


def figures(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def url(server: Paced) -> str:
    return f"http://127.0.0.1:{server.port}/v2/models/paced"


def below(pid: int) -> Sequence[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write_bundle(tmp_path_factory.mktemp("bench") / "b", small.linear(), small.linear_samples())


@pytest.mark.slow
def test_the_knee_is_near_the_capacity_of_a_server_whose_capacity_is_known() -> None:
    with paced(Behaviour(service=0.005)) as server:  # 200 a second
        asked = (url(server), "--slo-p99", "100ms", "-o", "json", "--duration")
        done = bench(*asked, "30s")
        if longer := figures(done)["durationNeeded"]:  # on a machine that stood still, as it tells its user
            done = bench(*asked, f"{longer:g}s")

    found = figures(done)
    assert done.returncode == 0, done.stderr
    assert 180 < found["peak"]["answeredPerSecond"] < 210
    assert 100 < found["knee"]["requestsPerSecond"] < 205
    assert found["target"]["requestsPerSecond"] == pytest.approx(0.7 * found["knee"]["requestsPerSecond"], abs=0.01)
    assert found["target"]["p99Ms"] >= 5  # of a level below the knee; how far above it is the machine's affair
    above = [level for level in found["levels"] if level["requestsPerSecond"] > 210]
    assert all(level["verdict"] == "exceeds" for level in above)


def test_a_stall_that_a_closed_loop_hides_is_seen_in_the_open_one() -> None:
    stalling = Behaviour(service=0.002, stall_after=150, stall=1.0)
    with paced(stalling) as server:
        closed = figures(bench(url(server), "--closed", "--connections", "1", "--duration", "2s", "-o", "json"))
    with paced(stalling) as server:
        opened = figures(bench(url(server), "--rate", "100", "--duration", "3s", "-o", "json"))

    assert closed["peak"]["p99Ms"] < 200
    assert opened["levels"][0]["p99Ms"] > 700


def test_a_rate_that_is_too_high_is_told_by_the_exit_code() -> None:
    with paced(Behaviour(service=0.02)) as server:
        low = bench(url(server), "--rate", "10", "--slo-p99", "1s", "--duration", "1s", "-o", "json")
        high = bench(url(server), "--rate", "200", "--slo-p99", "300ms", "--duration", "2s", "-o", "json")

    assert (low.returncode, high.returncode) == (0, 1)
    assert figures(low)["knee"]["requestsPerSecond"] == 10
    assert figures(high)["levels"][0]["verdict"] == "exceeds"
    assert figures(high)["scaling"] is None


def test_requests_that_are_refused_count_as_never_answered() -> None:
    with paced(Behaviour(service=0.001, refuse_every=10)) as server:
        done = bench(url(server), "--rate", "100", "--slo-p99", "1s", "--duration", "2s", "-o", "json")

    (level,) = figures(done)["levels"]
    assert done.returncode == 1
    assert level["failures"]["429"] == pytest.approx(level["requests"] / 10, rel=0.3)
    assert level["p99Ms"] is None


@pytest.mark.parametrize("behaviour", [Behaviour(chunked=True), Behaviour(closes=True)])
def test_answers_in_chunks_and_connections_that_end_are_no_failures(behaviour: Behaviour) -> None:
    with paced(behaviour) as server:
        done = bench(url(server), "--rate", "50", "--duration", "1s", "-o", "json")

    (level,) = figures(done)["levels"]
    assert level["failures"] == {}
    assert level["requests"] > 20


def test_given_inputs_and_headers_are_what_is_sent(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 4), np.float32))
    with paced(Behaviour()) as server:
        done = bench(
            url(server), "--rate", "50", "--duration", "1s", "--input", f"x={tmp_path}/x.npy", "--protocol", "json",
            "--header", "x-model-version: canary", "-o", "json",
        )  # fmt: skip

    assert figures(done)["requests"] == "the input given"
    assert figures(done)["levels"][0]["failures"] == {}
    assert server.headers["x-model-version"] == "canary"
    assert server.headers["content-type"] == "application/json"


def test_a_server_with_tls_is_measured_like_any_other(tmp_path: Path) -> None:
    ca, chain = authority(tmp_path)
    (tmp_path / "ca.pem").write_text(ca)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain)
    with following(Answer(body=json.dumps(METADATA).encode()), tls=tls) as server:
        trusted = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
        flags = ("--rate", "20", "--connections", "2", "--duration", "1s", "-o", "json")
        done = bench(f"{server.url}/v2/models/m", *flags, environment=trusted)
        stranger = bench(f"{server.url}/v2/models/m", *flags)

    assert figures(done)["levels"][0]["failures"] == {}
    assert figures(done)["levels"][0]["requests"] > 10
    assert json.loads(stranger.stderr)["error"]["reason"] == "CertificateInvalid"


def test_a_request_that_the_model_refuses_ends_it_before_any_load() -> None:
    with following(Answer(body=json.dumps(METADATA).encode()), said(400, "input 'x': not so")) as server:
        done = bench(f"{server.url}/v2/models/m", "-o", "json")

    assert done.returncode == 1
    assert json.loads(done.stderr)["error"]["what"] == "input 'x': not so"
    assert len(server.received) == 2


def test_nobody_there_is_told_as_such() -> None:
    done = bench("http://127.0.0.1:1/v2/models/m", "-o", "json")

    assert done.returncode == 5
    assert json.loads(done.stderr)["error"]["reason"] == "NotConnected"


@pytest.mark.slow
def test_a_bundle_is_served_measured_and_drawn(bundle: Path, tmp_path: Path) -> None:
    svg, html = tmp_path / "out/latency.svg", tmp_path / "latency.html"

    # A limit that any machine holds, and a time that is not used up.
    done = bench(str(bundle), "--slo-p99", "60s", "--duration", "12s", "--max-rate", "100", "--plot", str(svg))
    again = bench(str(bundle), "--rate", "50", "--duration", "1s", "--plot", str(html), "-o", "json")

    assert done.returncode == 0, done.stderr
    assert "fraud at http://127.0.0.1:" in done.stdout
    assert "golden samples, 1 row a request" in done.stdout
    assert "knee    100/s within p99 60,000 ms" in done.stdout
    assert "      requestsPerSecond: 70\n" in done.stdout
    assert svg.read_text().startswith("<svg")
    assert figures(again)["levels"][0]["failures"] == {}
    assert "<svg" in html.read_text()


def test_what_the_server_of_a_bundle_uses_of_its_cores_is_known(bundle: Path) -> None:
    done = bench(str(bundle), "--closed", "--duration", "1s", "-o", "json")

    assert figures(done)["peak"]["serverCores"] > 0


def test_only_the_number_for_the_manifest_is_printed_quietly(bundle: Path) -> None:
    done = bench(str(bundle), "--slo-p99", "60s", "--duration", "6s", "--max-rate", "40", "--quiet")

    assert done.stdout == "28\n"


def test_a_bundle_that_cannot_be_served_is_told_with_the_servers_reason(tmp_path: Path) -> None:
    samples = small.linear_samples(weights=small.WEIGHTS * 2)
    wrong = small.write_bundle(tmp_path / "b", small.linear(), samples)

    done = bench(str(wrong), "-o", "json")

    assert done.returncode == 1
    assert json.loads(done.stderr)["error"]["reason"] == "GoldenMismatch"


def test_settings_of_the_server_come_from_the_environment_and_wrong_ones_are_told(bundle: Path) -> None:
    flags = (str(bundle), "--rate", "20", "--duration", "1s", "-o", "json")
    strict = bench(*flags, "--rows", "3", environment={"TIDEGATE_MAX_BATCH_REQUEST": "2"})
    wrong = bench(*flags, environment={"TIDEGATE_QUEUE": "many"})

    assert "first dimension 3 is above the limit of 2" in json.loads(strict.stderr)["error"]["what"]
    assert "'many' is not a whole number" in json.loads(wrong.stderr)["error"]["what"]


def start(bundle: Path, *flags: str, stderr: int = subprocess.PIPE) -> tuple[subprocess.Popen[str], int]:
    """A measurement that has begun, and its server."""
    process = subprocess.Popen(
        [TIDEGATE, "bench", str(bundle), *flags], stdout=subprocess.PIPE, stderr=stderr, text=True,
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    (server,) = wait_until(lambda: below(process.pid), "its server", DEADLINE)
    return process, server


@contextlib.contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[None]:
    """It does not outlive a test that fails."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def interrupted(process: subprocess.Popen[str]) -> str:
    """What it prints when Ctrl-C ends it: pressed again where nothing came of it, as one press in 140 was lost."""
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=10)[0]
    return process.communicate(timeout=DEADLINE)[0]


@pytest.fixture
def foreground() -> Iterator[None]:
    """Ctrl-C reaches what is started: a shell's background job, as the tests may be, has it ignored and hands that on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, bytearray]]:
    """A terminal to write to, and what is written there."""
    ours, theirs = pty.openpty()
    said = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # nobody has the other end any more
            while part := os.read(ours, 4096):
                said.extend(part)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        yield theirs, said
    finally:
        os.close(theirs)
        reading.join()
        os.close(ours)


@pytest.mark.slow
@pytest.mark.usefixtures("foreground")
def test_an_interruption_shows_what_was_measured_and_ends_the_server(tmp_path: Path) -> None:
    bundle = small.write_bundle(tmp_path / "b", slow.stepping(), [slow.sample()], name="slow")
    with terminal() as (stderr, said):
        process, server = start(bundle, "--duration", "30s", "-o", "json", stderr=stderr)
        with ending(process):
            wait_until(lambda: b"requests a" in said, lambda: f"more than one request at a time: {said!r}", DEADLINE)
            out = interrupted(process)

    assert process.returncode == 130, said
    assert json.loads(out)["finished"] is False
    assert json.loads(out)["alone"]["requests"] > 0
    assert not alive(server)


def test_the_server_does_not_outlive_a_measurement_that_is_killed(bundle: Path) -> None:
    process, server = start(bundle, "--duration", "40s")

    process.kill()
    process.communicate(timeout=DEADLINE)

    wait_until(lambda: not alive(server), "the server's end", DEADLINE)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--closed", "--rate", "5"], "a closed loop has no rates"),
        (["--closed", "--plot", "x.svg"], "a closed loop has no rates"),
        (["--plot", "x.png"], "neither .svg nor .html"),
        (["--duration", "10ms"], "too short to measure anything"),
        (["--slo-p99", "0ms"], "no answer takes no time"),
        (["--cores", "4096"], "the load generator needs one, too"),
        (["--slo-p99", "soon"], "is not a duration"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(bundle: Path, arguments: list[str], why: str) -> None:
    done = bench(str(bundle), *arguments)

    assert done.returncode == 2
    assert why in done.stderr


def test_a_port_that_speaks_grpc_is_refused_with_what_to_write() -> None:
    done = bench("grpc://localhost:9000/v2/models/fraud", "-o", "json")

    assert json.loads(done.stderr)["error"]["do"] == "give the address of its HTTP port"


def test_an_address_that_is_no_models_is_refused_with_what_to_write() -> None:
    done = bench("http://localhost:8080", "-o", "json")

    assert json.loads(done.stderr)["error"]["do"] == "write http://HOST:PORT/v2/models/NAME"
