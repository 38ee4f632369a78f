"""The server beside raw ONNX Runtime: `make bench-runtime` writes build/bench/runtime.json, the table and the plot.

One number per cell: R = CPU time of one raw `session.run` / CPU time of the server for one request, at many
connections, server on core 0, client on core 1.  Raw runs are measured before and after each cell on the server's
core, so that a busy neighbour slows both.  R hardly depends on the machine; requests per second do.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson
import uvloop
from benchmarks.load import Result, load, post
from benchmarks.models import MODELS, BenchModel
from benchmarks.plot import bars
from tests.runtime import small_bundles as small

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build/bench"
ROUNDS = 3
SECONDS = 2.0
CALIBRATION = 0.6
CONNECTIONS = {"tiny": 64, "small": 64, "medium": 8}
# R of others on the same kind of machine, and what we set ourselves (must); see docs/performance.md.
SHOWN = ("must", "KServe", "MLServer", "Triton")
PEERS = {
    ("tiny", "json"): {"KServe": 0.010, "MLServer": 0.014, "Triton": 0.12, "must": 0.12},
    ("tiny", "binary"): {"KServe": 0.010, "Triton": 0.12, "must": 0.12},
    ("small", "json"): {"KServe": 0.10, "MLServer": 0.25, "Triton": 0.25, "must": 0.45},
    ("small", "binary"): {"KServe": 0.08, "Triton": 0.78, "must": 0.85},
    ("medium", "json"): {"KServe": 0.65, "MLServer": 0.91, "Triton": 0.85, "must": 0.92},
    ("medium", "binary"): {"KServe": 0.55, "Triton": 1.00, "must": 0.97},
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One measured cell of the table."""

    model: str
    protocol: str
    connections: int
    ratio: float
    raw_seconds: float
    cpu_seconds: float
    result: Result

    def row(self, system: str) -> dict[str, Any]:
        return {
            "system": system, "model": self.model, "protocol": self.protocol, "concurrency": self.connections,
            "R": round(self.ratio, 3), "rps": round(self.result.rps, 1),
            "p50Ms": round(self.result.quantile(0.5) * 1e3, 3), "p99Ms": round(self.result.quantile(0.99) * 1e3, 3),
            "cpuUsPerRequest": round(self.cpu_seconds * 1e6, 1), "rawUs": round(self.raw_seconds * 1e6, 1),
        }  # fmt: skip


class Served:
    """A server process with one model, pinned to the first core."""

    def __init__(self, folder: Path) -> None:
        command = [
            sys.executable, "-m", "tidegate_runtime", "serve", "--bundle", str(folder), "--host", "127.0.0.1",
            "--http-port", "0", "--grpc-port", "off", "--metrics-host", "127.0.0.1", "--metrics-port", "0",
            "--drain-delay", "0s",
        ]  # fmt: skip
        started = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        os.sched_setaffinity(self.process.pid, {0})
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.port = int(json.loads(self.process.stdout.readline())["http"])
        while '"ready"' not in (line := self.process.stderr.readline()):
            if not line:
                raise RuntimeError("the server ended before it was ready")
        self.cold_start = time.perf_counter() - started

    def cpu_seconds(self) -> float:
        """CPU time of all threads so far, to the nanosecond where the kernel tells."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)


def request_of(model: BenchModel, protocol: str) -> bytes:
    """The bytes of one inference request."""
    x = model.sample()
    tensor: dict[str, Any] = {"name": model.input, "shape": list(x.shape), "datatype": "FP32"}
    path = "/v2/models/bench/infer"
    if protocol == "json":
        flat = orjson.dumps({"inputs": [{**tensor, "data": x.ravel()}]}, option=orjson.OPT_SERIALIZE_NUMPY)
        return post(path, flat, "content-type: application/json\r\n")
    raw = x.tobytes()
    tensor["parameters"] = {"binary_data_size": len(raw)}
    text = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    return post(path, text + raw, f"inference-header-content-length: {len(text)}\r\n")


def raw_run_seconds(session: Any, feeds: dict[str, Any]) -> float:
    """CPU time of one plain `session.run`, on the server's core, while the server has nothing to do."""
    os.sched_setaffinity(0, {0})
    runs, began, until = 0, time.process_time(), time.perf_counter() + CALIBRATION
    while time.perf_counter() < until:
        session.run(None, feeds)
        runs += 1
    return (time.process_time() - began) / runs


def measure(server: Served, model: BenchModel, protocol: str, session: Any) -> Cell:
    """One cell: raw, load, raw."""
    feeds = {model.input: model.sample()}
    request = request_of(model, protocol)
    connections = CONNECTIONS[model.name]
    before = raw_run_seconds(session, feeds)
    os.sched_setaffinity(0, {1} if (os.cpu_count() or 1) > 1 else {0})
    used = server.cpu_seconds()
    seconds = SECONDS if model.name != "medium" else 3 * SECONDS
    result = uvloop.run(load("127.0.0.1", server.port, request, connections, seconds))
    used = server.cpu_seconds() - used
    if result.errors:
        raise RuntimeError(f"{result.errors} requests failed")
    raw = (before + raw_run_seconds(session, feeds)) / 2
    cpu = used / result.requests
    return Cell(model.name, protocol, connections, raw / cpu, raw, cpu, result)


def one_thread(graph: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options)


def measure_model(name: str, folder: Path) -> list[Cell]:
    """All cells of one model, the median of the rounds."""
    model = MODELS[name]()
    bundle = small.write_bundle(folder / name, model.graph, name="bench")
    session = one_thread(model.graph.SerializeToString())
    server = Served(bundle)
    try:
        rounds = [[measure(server, model, protocol, session) for protocol in ("json", "binary")] for _ in range(ROUNDS)]
        return [sorted(column, key=lambda cell: cell.ratio)[ROUNDS // 2] for column in zip(*rounds, strict=True)]
    finally:
        server.stop()


def cold_starts(folder: Path, count: int = 5) -> tuple[float, float]:
    """Medians of the time from starting the process to ready, and of its memory then; small model."""
    seconds, mebibytes = [], []
    for _ in range(count):
        server = Served(folder / "small")
        seconds.append(server.cold_start)
        mebibytes.append(server.rss_mib())
        server.stop()
    return statistics.median(seconds), statistics.median(mebibytes)


def main() -> int:
    np.seterr(all="raise")
    everywhere = os.sched_getaffinity(0)
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in MODELS:
            cells += measure_model(name, Path(scratch))
            os.sched_setaffinity(0, everywhere)
        cold, rss = cold_starts(Path(scratch))
    document = {"rows": [cell.row("tidegate") for cell in cells], "coldStartSeconds": round(cold, 3),
                "rssMiB": round(rss, 1)}  # fmt: skip
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "runtime.json").write_text(json.dumps(document, indent=1) + "\n")
    (OUT / "runtime.svg").write_text(picture(cells))
    print(table(cells))
    print(f"\ncold start to ready, small model: {cold:.2f} s (must: 0.70); memory: {rss:.0f} MiB (must: 90)")
    return 0


def table(cells: list[Cell]) -> str:
    """The figures as a Markdown table, beside the peers'."""
    lines = [
        "| model | protocol | connections | R | must | KServe | MLServer | Triton "
        "| CPU µs/request | raw µs | req/s | p99 ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        peers = PEERS[(cell.model, cell.protocol)]
        others = " | ".join(
            f"{peers[name]:.3g}" if name in peers else "" for name in ("must", "KServe", "MLServer", "Triton")
        )
        row = cell.row("")
        lines.append(
            f"| {cell.model} | {cell.protocol} | {cell.connections} | **{cell.ratio:.3f}** | {others} | "
            f"{row['cpuUsPerRequest']:.1f} | {row['rawUs']:.1f} | {row['rps']:.0f} | {row['p99Ms']:.2f} |"
        )
    return "\n".join(lines)


def picture(cells: list[Cell]) -> str:
    """The same as bars."""
    groups = {}
    for cell in cells:
        peers = PEERS[(cell.model, cell.protocol)]
        bar = {"tidegate": cell.ratio, **{name: peers[name] for name in SHOWN[1:] if name in peers}}
        groups[f"{cell.model} {cell.protocol}"] = bar
    return bars("R: CPU of a raw run / CPU of a served request (1 is the limit)", groups, ["tidegate", *SHOWN[1:]])


if __name__ == "__main__":
    sys.exit(main())
