"""A `tidegate run` as a user starts it, and clients that never stop asking."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tests.runtime.small_bundles import WEIGHTS, linear, linear_samples, write_bundle
from tests.waiting import wait_until

from tidegate.bundle.golden import GoldenSample

TIDEGATE = [str(Path(sys.executable).with_name("tidegate"))]
INPUT = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
DEADLINE = 20.0
QUICK = {"interval": "1s", "warmup": "0s", "minRequests": 1, "confidence": 0}


def bundles(store: Path) -> Path:
    """v1 and v2 are sound and differ a little; v3 is not what its golden samples say; big is larger than 1 MiB."""
    better, samples = WEIGHTS + np.float32(0.001), linear_samples(weights=WEIGHTS + np.float32(0.001))
    write_bundle(store / "v1", linear(), linear_samples(), version="v1")
    write_bundle(store / "v2", linear(better), samples, version="v2")
    write_bundle(store / "v3", linear(better * 2), samples, version="v3")
    write_bundle(store / "big", linear(), [many_rows()], version="big")
    return store


def many_rows() -> GoldenSample:
    """A golden sample of two megabytes."""
    x = np.random.default_rng(1).standard_normal((100_000, 4)).astype(np.float32)
    scores = x @ WEIGHTS
    return GoldenSample({"x": x}, {"scores": scores, "label": scores.argmax(-1)})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def children(pid: int) -> list[int]:
    """All processes below a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@dataclass
class Local:
    """One manifest and the runs that serve it, one after another."""

    folder: Path
    store: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    arguments: tuple[str, ...] = ()  # further ones of the command line
    before: tuple[str, ...] = ()  # what the command line begins with

    @property
    def manifest(self) -> Path:
        return self.folder / "fraud.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def cache(self) -> Path:
        return self.store.parent / "cache"

    @property
    def environment(self) -> dict[str, str]:
        own = {"XDG_STATE_HOME": str(self.folder / "xdg"), "XDG_CACHE_HOME": str(self.cache)}
        own |= {"KUBECONFIG": str(self.folder / "none"), "KUBERNETES_SERVICE_HOST": ""}  # else commands could mean it
        return {**os.environ, **own, "AWS_ACCESS_KEY_ID": "of the shell", "COLUMNS": "200"}

    def document(self, version: str, name: str = "fraud", **spec: Any) -> dict[str, Any]:
        rollout = {"steps": [{"weight": 20, "hold": "1s"}], "scaleDownDelay": "0s", "analysis": QUICK}
        full = {
            "bundle": {"uri": f"file://{self.store}/{version}"},
            "rollout": rollout | spec.pop("rollout", {}),
            "routing": {"headers": {"x-model-version": "canary"}},
            **spec,
        }
        return {
            "apiVersion": "serving.tidegate.io/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name},
            "spec": full,
        }

    def write(self, version: str, **spec: Any) -> None:
        self.write_text(yaml.safe_dump(self.document(version, **spec)))

    def write_text(self, text: str) -> None:
        beside = self.manifest.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.manifest)

    def command(self, *arguments: str) -> list[str]:
        where = ["--port", str(self.port), "--state", str(self.state)]
        return [*TIDEGATE, "run", "-f", str(self.manifest), *where, *self.arguments, *arguments]

    def once(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command("--once", *arguments),
            env=self.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def start(self) -> None:
        """Start the run and wait until its first version serves."""
        self.spawn()
        wait_until(lambda: self.ready() or self.gone(), "the run is ready")
        assert not self.gone(), self.log()

    def spawn(self) -> None:
        with (self.folder / "run.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.before, *self.command()], env=self.environment, stdout=log, stderr=log
            )

    def until(self, what: Callable[[], Any], message: str) -> Any:
        """Wait, and show status and log when it was in vain."""
        try:
            return wait_until(what, message)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{json.dumps(self.status(), indent=1)}\n{self.log()}") from None

    def gone(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def ready(self) -> bool:
        try:
            return self.ask()[0] == 200
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(timeout=DEADLINE)

    def log(self) -> str:
        return (self.folder / "run.log").read_text() if (self.folder / "run.log").exists() else ""

    def ask(
        self, headers: Mapping[str, str] | None = None, path: str = "/v2/models/fraud/infer", body: Any = INPUT
    ) -> tuple[int, Any]:
        """One request on a connection of its own: a POST, or a GET where there is no body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            method, content = ("GET", None) if body is None else ("POST", json.dumps(body))
            connection.request(method, path, content, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def tidegate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command about this run."""
        return self.tidegate_alone(*arguments, "--state", str(self.state))

    def tidegate_alone(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*TIDEGATE, *arguments],
            env=self.environment, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    def status(self, name: str = "fraud") -> dict[str, Any]:
        """The status as the run keeps it."""
        path = self.state / name / "deployment.json"
        found: dict[str, Any] = json.loads(path.read_text())["status"] if path.exists() else {}
        return found

    def condition(self, kind: str) -> dict[str, Any]:
        return next((one for one in self.status().get("conditions", []) if one["type"] == kind), {})

    def rejected(self) -> list[str]:
        return [one["reason"] for one in self.status().get("rejected", [])]

    def rollout(self, part: str) -> Any:
        return (self.status().get("rollout") or {}).get(part)

    def weight(self, role: str) -> int:
        return int((self.status().get(role) or {}).get("weight", -1))

    def serving(self, version: str) -> bool:
        stable = self.status().get("stable") or {}
        return stable.get("version") == version and self.condition("Promoted").get("status") == "True"

    def rows(self) -> list[dict[str, Any]]:
        path = self.state / "fraud" / "timeline.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def requests(self, version: str) -> int:
        """What the servers of a version have counted."""
        found = [one for row in self.rows() for one in row["versions"].values() if one["version"] == version]
        return max((int(one["requests"]) for one in found), default=0)

    def pids(self, what: str) -> list[int]:
        """Processes of the run whose command line holds `what`."""
        assert self.process
        return [pid for pid in children(self.process.pid) if what in command_line(pid)]

    def servers(self, version: str) -> list[int]:
        revisions = {name for row in self.rows() for name, one in row["versions"].items() if one["version"] == version}
        return [pid for revision in revisions for pid in self.pids(f"--revision {revision}")]

    def kill(self, pid: int) -> None:
        assert self.process
        assert pid in children(self.process.pid)
        os.kill(pid, signal.SIGKILL)

    def wait_for_nothing(self, pids: list[int], seconds: float) -> None:
        """Wait until none of these processes is left."""
        wait_until(lambda: not any(alive(pid) for pid in pids), "all children are gone", seconds)

    def replaced(self, version: str, before: int) -> bool:
        """Whether another server process of that version has taken the place of one that is dead."""
        return self.servers(version) not in ([], [before])

    def answers(self, version: str) -> bool:
        return self.ask(path=f"/v2/models/fraud/versions/{version}/infer")[0] == 200

    def envoy(self) -> list[int]:
        return [pid for pid in self.pids("--config-path") if "guard.py" not in command_line(pid)]


class Clients:
    """Connections that send one request after another and remember every answer.

    `lost` are the failures without connections that were never let in: refused, or reset before their first answer.
    The kernel resets what waits in the queue of a listener that closes, so the end of a run looks like either.
    """

    def __init__(self, local: Local, connections: int = 6) -> None:
        self.answers: Counter[str] = Counter()  # by version
        self.failures: list[str] = []
        self.lost: list[str] = []
        self.connections = connections
        self._local = local
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(connections)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def total(self) -> int:
        return sum(self.answers.values())

    def _ask_on(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._local.port, timeout=10)
        body = json.dumps(INPUT)
        while not self._over.wait(0.004):
            new = connection.sock is None
            try:
                connection.request("POST", "/v2/models/fraud/infer", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                self._note(answer.status, answer.read())
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                let_in = not new or type(error) not in (ConnectionRefusedError, ConnectionResetError)
                with self._lock:
                    self.failures.append(repr(error))
                    self.lost += [repr(error)] if let_in else []
        connection.close()

    def _note(self, status: int, body: bytes) -> None:
        with self._lock:
            if status == 200:
                self.answers[json.loads(body)["model_version"]] += 1
            else:
                self.failures.append(f"{status} {body[:200]!r}")
                self.lost.append(self.failures[-1])

    def more(self, count: int) -> None:
        """Wait for so many further answers."""
        goal = self.total + count
        wait_until(lambda: self.total >= goal, f"{count} more answers; failures: {self.failures[:3]}")
