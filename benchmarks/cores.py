"""What more cores give: `make bench-cores` writes build/bench/cores.json and prints the table.

Three questions: does a model of 75 ms use every core with its weights in memory once; does a tiny model lose nothing by
a second core, and what does a second process give it; and are probes and metrics answered while all cores are busy.
Unlike `benchmarks.runtime` this counts requests per second, so nothing else should run; client and server share the
machine's cores, as a client on the same node would.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import uvloop
from benchmarks.docs import write_section
from benchmarks.forms import FORMS
from benchmarks.load import Result, load
from benchmarks.machine import machine, sentence
from benchmarks.models import MODELS, BenchModel
from benchmarks.processes import cpu_seconds, memory_mib
from tests.runtime import small_bundles as small
from tests.runtime.running_server import RunningServer, serve

from tidegate.bench.record import quantile

OUT = Path(__file__).resolve().parents[1] / "build/bench"
ROUNDS = {"tiny": 9, "medium": 3}  # a tiny one's rate swings by a fifth from round to round
SETUPS = {"medium": ((1, 1), (1, 2)), "tiny": ((1, 1), (1, 2), (2, 2))}  # processes and cores
SECONDS = {"tiny": 2.0, "medium": 24.0}  # so many runs that the last one of each core makes no difference
CONNECTIONS = {"tiny": 64, "medium": 8}
CALIBRATION = {"tiny": 1.0, "medium": 4.0}
PROBES = 1000  # so many that a hundredth of them is no chance
SATURATING = 16  # connections
NOT_KEPT = {"connection": "close"}  # a kubelet's probe is a new connection each time
MUST = {"/livez": 10.0, "/readyz": 10.0, "/metrics": 50.0}


@dataclass(frozen=True, slots=True)
class Row:
    """One server under load, the median of its rounds."""

    model: str
    cores: int
    processes: int
    rps: float
    cpu_us: float
    mebibytes: float
    raw_rps: float  # of one thread that does nothing else
    raw_limit: float  # times that, of as many threads as cores over one session
    server_share: float  # cores' worth of time that the server had
    client_share: float

    @property
    def times_raw(self) -> float:
        return self.rps / self.raw_rps

    def document(self) -> dict[str, Any]:
        return {
            "model": self.model, "cores": self.cores, "processes": self.processes, "rps": round(self.rps, 1),
            "cpuUsPerRequest": round(self.cpu_us, 1), "rssMiB": round(self.mebibytes, 1),
            "rawRunsPerSecondOneThread": round(self.raw_rps, 1), "timesOneThread": round(self.times_raw, 2),
            "rawThreadsTimesOne": round(self.raw_limit, 2), "serverCores": round(self.server_share, 3),
            "clientCores": round(self.client_share, 3),
        }  # fmt: skip


def raw_runs_per_second(model: BenchModel, session: Any, threads: int = 1) -> float:
    """Plain runs over one session, by so many threads; the last run of each counts with all of its time."""
    feeds, began = {model.input: model.sample()}, time.perf_counter()

    def run() -> float:
        runs, taken = 0, 0.0
        while taken < CALIBRATION[model.name]:
            session.run(None, feeds)
            runs += 1
            taken = time.perf_counter() - began
        return runs / taken

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda _: run(), range(threads)))


@contextlib.contextmanager
def served(bundle: Path, scratch: Path, processes: int, cores: int) -> Iterator[RunningServer]:
    """A server that is ready, on so many cores."""
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(everywhere)[:cores])
    try:
        with serve(bundle, scratch, "--workers", str(processes), "--queue", "1024") as running:
            os.sched_setaffinity(0, everywhere)
            yield running.until_ready()
    finally:
        os.sched_setaffinity(0, everywhere)


def put_load_on(server: RunningServer, model: BenchModel, connections: int, seconds: float) -> Result:
    result = uvloop.run(load("127.0.0.1", server.http, FORMS["binary"].write(model), connections, seconds))
    if result.errors:
        raise RuntimeError(f"{result.errors} requests failed")
    return result


def measure(model: BenchModel, bundle: Path, scratch: Path, *, processes: int, cores: int, session: Any) -> Row:
    """One round: raw, load, raw."""
    before = raw_runs_per_second(model, session)
    with served(bundle, scratch, processes, cores) as server:
        put_load_on(server, model, CONNECTIONS[model.name], 0.5)
        used, own, began = cpu_seconds(server.process.pid), time.process_time(), time.perf_counter()
        result = put_load_on(server, model, CONNECTIONS[model.name], SECONDS[model.name])
        took = time.perf_counter() - began
        used, own = cpu_seconds(server.process.pid) - used, time.process_time() - own
        memory = memory_mib(server.process.pid)
    raw = (before + raw_runs_per_second(model, session)) / 2
    limit = raw_runs_per_second(model, session, cores) / raw
    cpu_us, shares = used / result.requests * 1e6, (used / took, own / took)
    return Row(model.name, cores, processes, result.rps, cpu_us, memory, raw, limit, *shares)


def probe_while_busy(server: RunningServer, model: BenchModel) -> Mapping[str, list[float]]:
    """Milliseconds of each answer of the metrics port while every core runs the model."""
    found: dict[str, list[float]] = {"/livez": [], "/readyz": [], "/metrics": []}
    over = threading.Event()

    def ask() -> None:
        for _ in range(PROBES):
            for path, times in found.items():
                began = time.perf_counter()
                connection = http.client.HTTPConnection("127.0.0.1", server.metrics, timeout=30)
                connection.request("GET", path, headers=NOT_KEPT)
                answer = connection.getresponse()
                answer.read()
                connection.close()
                times.append((time.perf_counter() - began) * 1e3)
                if answer.status != http.HTTPStatus.OK:
                    raise RuntimeError(f"{path} answered {answer.status}")
                over.wait(0.01)
        over.set()

    asking = threading.Thread(target=ask)
    asking.start()
    while not over.is_set() and asking.is_alive():
        put_load_on(server, model, SATURATING, 10.0)
    asking.join()
    return found


def one_thread(graph: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options)


def measure_model(name: str, setups: Sequence[tuple[int, int]], scratch: Path) -> list[Row]:
    """The medians of a model's setups, in rounds that take turns."""
    model = MODELS[name]()
    bundle = small.write_bundle(scratch / name, model.graph, name="bench")
    session = one_thread(model.graph.SerializeToString())
    rounds = []
    for number in range(ROUNDS[name]):
        rounds.append(
            [measure(model, bundle, scratch / "run", processes=p, cores=c, session=session) for p, c in setups]
        )
        told = ", ".join(f"{row.times_raw:.2f}" for row in rounds[-1])
        print(f"{name}, round {number + 1} of {ROUNDS[name]}: {told} times one raw thread", file=sys.stderr, flush=True)
    return [sorted(column, key=lambda row: row.times_raw)[len(rounds) // 2] for column in zip(*rounds, strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-cores", description="What more cores give.")
    parser.add_argument("--write-docs", action="store_true", help="put the tables into docs/performance.md")
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        print("error: this needs two cores", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        rows = [row for name, setups in SETUPS.items() for row in measure_model(name, setups, scratch)]
        with served(scratch / "medium", scratch / "run", 1, 2) as server:
            probes = probe_while_busy(server, MODELS["medium"]())
    document = {"rows": [row.document() for row in rows], "probes": probe_document(probes), "cores": cores}
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "cores.json").write_text(json.dumps(document, indent=1) + "\n")
    text = f"{table(rows, probes)}\n\n{sentence(machine())}"
    print(text)
    if given.write_docs:
        write_section("cores", text)
    return 0


def probe_document(probes: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    return {
        path: {"p50Ms": round(statistics.median(times), 2), "p99Ms": round(quantile(np.sort(times), 0.99), 2),
               "count": len(times)}
        for path, times in probes.items()
    }  # fmt: skip


def table(rows: list[Row], probes: Mapping[str, list[float]]) -> str:
    """The figures as two Markdown tables."""
    lines = [
        "| model | cores | processes | req/s | times one raw thread | as many raw threads as cores "
        "| CPU µs/request | cores that the server had | and the client | memory MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.model} | {row.cores} | {row.processes} | {row.rps:.0f} | **{row.times_raw:.2f}** | "
        f"{row.raw_limit:.2f} | {row.cpu_us:.1f} | {row.server_share:.2f} | {row.client_share:.2f} | "
        f"{row.mebibytes:.0f} |"
        for row in rows
    ]
    lines += ["", "| while every core runs the medium model | p50 ms | p99 ms | must |", "|---|---|---|---|"]
    for path, times in probes.items():
        p50, p99 = statistics.median(times), quantile(np.sort(times), 0.99)
        lines.append(f"| `{path}` | {p50:.1f} | {p99:.1f} | {MUST[path]:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
