"""A real `tidegate-runtime serve` process for a test: started, spoken to, and surely ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

TOKEN = "a-token-for-one-test"


@dataclass(slots=True)
class Answer:
    """What an endpoint said."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class RunningServer:
    """A server that listens; not yet ready."""

    process: subprocess.Popen[bytes]
    http: int
    metrics: int
    folder: Path

    @property
    def log(self) -> str:
        return (self.folder / "stderr").read_text()

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, port: int = 0, token: str = TOKEN, **more: str
    ) -> Answer:
        """One request to the metrics port, or to `port`, with `more` headers."""
        url = f"http://127.0.0.1:{port or self.metrics}{path}"
        headers = more | ({"Authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(url, data=body, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return Answer(answer.status, answer.read(), dict(answer.headers))
        except urllib.error.HTTPError as refused:
            return Answer(refused.code, refused.read(), dict(refused.headers))

    def infer(self, document: Any, model: str = "fraud", **more: str) -> Answer:
        """One inference request as JSON."""
        return self.ask("POST", f"/v2/models/{model}/infer", json.dumps(document).encode(), port=self.http, **more)

    def evidence(self) -> Any:
        return self.ask("GET", "/internal/evidence").json

    def until_ready(self) -> RunningServer:
        wait_until(lambda: self.ask("GET", "/readyz").status == 200, f"ready; {self.log}")
        return self

    def until(self, holds: Callable[[Any], bool], what: str) -> Any:
        """Wait for evidence of which `holds` is true."""
        seen: list[Any] = []

        def look() -> bool:
            seen[:] = [self.evidence()]
            return holds(seen[0])

        wait_until(look, what)
        return seen[0]


@contextlib.contextmanager
def serve(
    bundle: Path, folder: Path, *flags: str, environment: dict[str, str] | None = None, within: Sequence[str] = ()
) -> Iterator[RunningServer]:
    """Start the server with free ports and a token file in `folder`; it is killed at the end if it still runs.

    `within` is a command that becomes the one after it, in other surroundings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "token").write_text(TOKEN + "\n")
    program = [*within, sys.executable, "-m", "tidegate_runtime"]
    command = [*program, "serve", "--bundle", str(bundle), *free_ports(folder), *flags]
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, **(environment or {})}
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "stderr").read_text()
        ports = json.loads(line)
        yield RunningServer(process, ports["http"], ports["metrics"], folder)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


def free_ports(folder: Path) -> list[str]:
    return [
        *("--host", "127.0.0.1", "--http-port", "0", "--grpc-port", "off"),
        *("--metrics-host", "127.0.0.1", "--metrics-port", "0"),
        *("--internal-token-file", str(folder / "token"), "--termination-log", str(folder / "termination-log")),
        *("--drain-delay", "100ms", "--drain", "5s"),
    ]


def numbers(*rows: list[float]) -> dict[str, Any]:
    """An inference request for `small_bundles.linear`."""
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [len(rows), 4], "data": list(rows)}]}
