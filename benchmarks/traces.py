"""What tracing costs a request of the tiny model: off, on with a hundredth of the requests traced, on with all.

The collector is a process of its own that reads and forgets; servers take turns in rounds, so a busy neighbour meets
all of them.  Prints the table's figures for docs/observability.md; a minute.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

import uvloop
from benchmarks.load import load, post
from tests.runtime import small_bundles as small

ROUNDS = 6
SECONDS = 1.5
CONNECTIONS = 16
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}).encode()
SHARES = {"off": None, "1 of 100": "0.01", "all": "1"}


class Forgetting(BaseHTTPRequestHandler):
    """A collector that takes everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Collector(ThreadingHTTPServer):
    """Says nothing of the servers that are killed at the end."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class Served:
    """A server; `share` of its requests are traced, None: it does not trace."""

    def __init__(self, bundle: Path, collector: str, share: str | None) -> None:
        flags = [] if share is None else ["--otlp-endpoint", collector, "--trace-sample", share]
        command = [
            sys.executable, "-m", "tidegate_runtime", "serve", "--bundle", str(bundle), "--host", "127.0.0.1",
            "--http-port", "0", "--grpc-port", "off", "--metrics-host", "127.0.0.1", "--metrics-port", "0", *flags,
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.port = int(json.loads(self.process.stdout.readline())["http"])
        while '"ready"' not in self.process.stderr.readline():
            pass

    def cpu_seconds(self) -> float:
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def microseconds(self) -> float:
        """CPU time per request under load, now."""
        used = self.cpu_seconds()
        seen = uvloop.run(load("127.0.0.1", self.port, post("/v2/models/fraud/infer", BODY), CONNECTIONS, SECONDS))
        if seen.errors:
            raise RuntimeError(f"{seen.errors} requests failed")
        return (self.cpu_seconds() - used) / seen.requests * 1e6


@contextlib.contextmanager
def collector() -> Iterator[str]:
    """Its address."""
    listening = Collector(("127.0.0.1", 0), Forgetting)
    child = os.fork()
    if child == 0:
        listening.serve_forever()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}"
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch, collector() as address:
        bundle = small.write_bundle(Path(scratch) / "bundle", small.linear(), small.linear_samples())
        servers = {name: Served(bundle, address, share) for name, share in SHARES.items()}
        try:
            ready = {name: server.rss_mib() for name, server in servers.items()}
            found: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(ROUNDS):
                for name, server in servers.items():
                    found[name].append(server.microseconds())
            print("| traced | CPU µs/request | MiB when ready | MiB after load |\n|---|---|---|---|")
            for name, server in servers.items():
                print(f"| {name} | {median(found[name]):.1f} | {ready[name]:.0f} | {server.rss_mib():.0f} |")
        finally:
            for server in servers.values():
                server.process.kill()
                server.process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
