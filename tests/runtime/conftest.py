"""A real `tidegate-runtime serve` process per test or module, and the plain clients that talk to it."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest
from tests.runtime import small_bundles as small
from tests.runtime.collector import Collector, collecting

DEADLINE = 20.0


@dataclass
class Answer:
    """One HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json["error"])


@dataclass
class Running:
    """A server process that listens."""

    process: subprocess.Popen[str]
    http: int = 0
    metrics: int = 0
    grpc: int = 0
    lines: list[str] = field(default_factory=list)

    def get(self, path: str, method: str = "GET") -> Answer:
        return self.ask(method, path)

    def infer(self, document: Any, *, model: str = "fraud", headers: dict[str, str] | None = None) -> Answer:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.ask("POST", f"/v2/models/{model}/infer", body, headers or {})

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=DEADLINE)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.http), timeout=DEADLINE)

    def probe(self, path: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics, timeout=DEADLINE)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return Answer(response.status, {}, response.read())
        finally:
            connection.close()

    def wait_ready(self) -> None:
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            line = self.line()
            if '"ready"' in line:
                return
            if not line:
                break
        raise AssertionError(f"not ready: {self.lines}")

    @property
    def peak_memory(self) -> int:
        """The most bytes that the process ever held."""
        return self._memory("VmHWM")

    @property
    def resident_memory(self) -> int:
        """The bytes that the process holds now."""
        return self._memory("VmRSS")

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{name}:")[1].split()[0]) * 1024

    def line(self) -> str:
        """The next line of the log; empty at its end."""
        stream = self.process.stderr
        assert stream is not None
        line = read_line(stream)
        self.lines.append(line)
        return line

    def end(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=DEADLINE)

    def kill(self) -> None:
        """Whether it still runs or not."""
        self.process.kill()
        self.process.wait(timeout=DEADLINE)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def read_line(stream: IO[str]) -> str:
    """The next line, byte by byte: for a line that a buffer took in with the one before, `select` waits in vain."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([stream], [], [], DEADLINE)
        assert ready, "the server says nothing"
        byte = os.read(stream.fileno(), 1)
        if not byte:
            break
        line += byte
    return line.decode()


def start(
    folder: Path, *flags: str, pass_fds: tuple[int, ...] = (), program: Sequence[str] = ("tidegate_runtime",)
) -> Running:
    """Start a server, `program` with its own arguments, on free ports and wait until it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", *program, "serve", "--bundle", str(folder), "--host", "127.0.0.1",
         "--http-port", "0", "--grpc-port", "off", "--metrics-host", "127.0.0.1", "--metrics-port", "0",
         "--drain-delay", "0s", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1, pass_fds=pass_fds,
    )  # fmt: skip
    running = Running(process)
    assert process.stdout is not None
    try:
        told = json.loads(read_line(process.stdout) or "{}")
    except BaseException:
        running.kill()
        raise
    running.http, running.metrics, running.grpc = (told.get(port, 0) for port in ("http", "metrics", "grpc"))
    return running


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a bundle directory: `bundles(graph, samples)`."""

    def write(graph: Any, samples: Any = (), **more: Any) -> Path:
        return small.write_bundle(tmp_path_factory.mktemp("bundle") / "b", graph, samples, **more)

    return write


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Running]]:
    """Starts servers that are ready; whatever still runs at the end of the module is killed."""
    started: list[Running] = []

    def run(folder: Path, *flags: str, ready: bool = True, pass_fds: tuple[int, ...] = ()) -> Running:
        running = start(folder, *flags, pass_fds=pass_fds)
        started.append(running)
        if ready:
            running.wait_ready()
        return running

    yield run
    for running in started:
        running.kill()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture(scope="module", params=["native", "grpcio"])
def grpc_on(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Flags of a server with a gRPC port, for each of the two that can carry it."""
    return ("--grpc-port", "0", "--grpc-server", request.param)


@pytest.fixture(scope="module")
def fraud(bundles: Callable[..., Path], serve: Callable[..., Running]) -> Running:
    """The usual server: the linear model, revision r7."""
    return serve(bundles(small.linear(), small.linear_samples()), "--revision", "r7")
