"""A server on the GPU in a process of its own: started, asked from outside, ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
SERVER: Final = (sys.executable, "-m", "tidegate_runtime")
READY_SECONDS: Final = 1200.0  # TensorRT builds engines
ANSWER_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.02


class NeverReady(Exception):
    """The server's last words."""


@dataclass(frozen=True, slots=True)
class Server:
    """Its ports, and the seconds from the start of its process to ready."""

    http: int
    metrics: int
    seconds: float

    def infer(self, name: str, x: Any) -> tuple[int, Any]:
        """Status and decoded body of one JSON request for the model `bench`; `x` of FP32."""
        tensor = {"name": name, "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
        return self.ask(self.http, "/v2/models/bench/infer", json.dumps({"inputs": [tensor]}).encode())

    def probe(self, path: str) -> tuple[int, str]:
        status, body = self.ask(self.metrics, path)
        return status, str(body)

    def figures(self, start: str) -> dict[str, float]:
        """The samples of /metrics whose line begins so."""
        text = self.ask(self.metrics, "/metrics")[1]
        lines = (line.rpartition(" ") for line in str(text).splitlines() if line.startswith(start))
        return {name: float(number) for name, _, number in lines}

    def ask(self, port: int, path: str, body: bytes | None = None) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, ANSWER_SECONDS) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        with contextlib.suppress(ValueError):
            return status, json.loads(text)
        return status, text


@contextlib.contextmanager
def serving(
    bundle: Path, flags: Sequence[str], command: Sequence[str] = SERVER, **environment: str
) -> Iterator[Server]:
    """A server that is ready; raises NeverReady."""
    line = [
        *command, "serve", "--bundle", str(bundle), "--host", "127.0.0.1", "--http-port", "0", "--grpc-port", "off",
        "--metrics-host", "127.0.0.1", "--metrics-port", "0", "--drain-delay", "0s", *flags,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        said, log = Path(folder, "said"), Path(folder, "log")  # files: nobody reads a pipe while it is under load
        began = time.perf_counter()
        with said.open("w") as out, log.open("w") as told:
            process = subprocess.Popen(line, stdout=out, stderr=told, cwd=ROOT, env={**os.environ, **environment})
        try:
            while '"ready"' not in log.read_text():
                if process.poll() is not None or time.perf_counter() - began > READY_SECONDS:
                    raise NeverReady(last_words(log.read_text()))
                time.sleep(LOOK_SECONDS)
            seconds = time.perf_counter() - began
            ports = json.loads(said.read_text())
            yield Server(ports["http"], ports["metrics"], seconds)
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            process.kill()
            process.wait()


def last_words(log: str) -> str:
    """Reason and message of the last line."""
    line = (log.strip().splitlines() or ["it said nothing"])[-1]
    with contextlib.suppress(ValueError, KeyError):
        found = json.loads(line)
        return f"{found['reason']}: {found['message']}"
    return line
