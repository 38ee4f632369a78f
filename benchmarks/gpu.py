"""A GPU under the server: `make bench-gpu` writes build/bench/gpu.json and prints the tables of docs/performance.md.

    checks  what a server promises of its GPU (gpu_checks.py); one that is not kept ends the program with 1
    runs    each way to run a model at several numbers of rows, in turns, its answers compared with the processor's
    served  the server over HTTP under load
    starts  the seconds to ready, with and without kept engines

`ARGS="checks runs"` chooses; `ARGS=--write-docs` puts the file, also one that was brought from another machine, into
the page.  Without a GPU it says so and ends with 2.  What a machine lacks (TensorRT, mostly) is
told in the table.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import uvloop
from benchmarks.gpu_checks import Check, checked
from benchmarks.gpu_checks import table as table_checked
from benchmarks.gpu_runs import WAYS, Subject, Timed, Way, half, kept_engines, timed
from benchmarks.gpu_server import SERVER, NeverReady, serving
from benchmarks.gpu_tables import Served, Start, cell, table, table_served, table_starts, write_docs
from benchmarks.load import load, post
from benchmarks.models import MODELS
from tests.runtime import small_bundles as small

from tidegate_runtime.devices import CUDA
from tidegate_runtime.gpu import nvml
from tidegate_runtime.ort import onnxruntime

ROOT: Final = Path(__file__).resolve().parents[1]
FOUND: Final = ROOT / "build/bench/gpu.json"
NAMES: Final = ("tiny", "small", "medium", "medium-fp16")
ROWS: Final = (1, 8, 32)
CONNECTIONS: Final = (1, 16, 64)
LOAD_SECONDS: Final = 2.0
FLAGS: Final = {
    "cuda": ("--device", "cuda"),
    "cuda, 2 sessions": ("--device", "cuda", "--sessions", "2"),
    "tensorrt": ("--device", "tensorrt"),
}


def missing() -> str:
    """Why there is nothing to measure; empty: a GPU is here."""
    if CUDA not in onnxruntime.get_available_providers():
        return "this ONNX Runtime is the processors': install the extra `runtime-cuda` in place of `runtime`"
    if nvml.find_gpu(os.environ) is None:
        return "there is no GPU here, or no driver for it"
    return ""


def subjects(names: Sequence[str]) -> Iterator[Callable[[int], Subject]]:
    """For each model a maker of it with so many rows."""
    for name in names:
        base = MODELS[name.removesuffix("-fp16")]()
        narrow = name.endswith("-fp16")
        graph = half(base.graph) if narrow else base.graph

        def make(rows: int, name: str = name, graph: Any = graph, base: Any = base, narrow: bool = narrow) -> Subject:
            x = np.random.default_rng(rows).standard_normal((rows, *base.shape[1:]))
            return Subject(name, graph, base.input, x.astype(np.float16 if narrow else np.float32))

        yield make


def runs(names: Sequence[str], rows: Sequence[int], ways: Sequence[Way], folder: Path) -> list[Timed]:
    """Every model, number of rows and way."""
    found = []
    for make in subjects(names):
        for count in rows:
            rows_of_it = timed(make(count), ways, folder)
            told = ", ".join(f"{one.way} {cell(one)}" for one in rows_of_it)
            print(f"  {rows_of_it[0].model} x{count}: {told}", file=sys.stderr, flush=True)
            found += rows_of_it
    return found


def request_of(subject: Subject) -> bytes:
    """One row as a binary tensor."""
    raw = subject.x[:1].tobytes()
    kind = "FP16" if subject.x.dtype == np.float16 else "FP32"
    shape = [1, *subject.x.shape[1:]]
    tensor = {"name": subject.input, "shape": shape, "datatype": kind, "parameters": {"binary_data_size": len(raw)}}
    text = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    return post("/v2/models/bench/infer", text + raw, f"inference-header-content-length: {len(text)}\r\n")


def served(
    subject: Subject, device: str, connections: Sequence[int], folder: Path, server: Sequence[str] = SERVER
) -> list[Served]:
    """The server over HTTP with binary tensors, at several numbers of connections."""
    bundle = small.write_bundle(
        folder / f"served-{subject.name}-{device.replace(', ', '-').replace(' ', '-')}", subject.graph, name="bench"
    )
    found = []
    try:
        with serving(bundle, [*FLAGS[device], *kept_engines(device, folder)], server) as running:
            for count in connections:
                result = uvloop.run(load("127.0.0.1", running.http, request_of(subject), count, LOAD_SECONDS))
                if result.errors:
                    raise RuntimeError(f"{result.errors} requests failed")
                p50, p99 = (result.quantile(share) for share in (0.5, 0.99))
                found.append(Served(subject.name, device, count, result.rps, p50, p99))
    except NeverReady as error:
        found.append(Served(subject.name, device, failed=str(error)))
    return found


def starts(subject: Subject, folder: Path, server: Sequence[str] = SERVER) -> list[Start]:
    """Cold starts: CUDA, TensorRT that builds its engines, and TensorRT that finds them."""
    bundle = small.write_bundle(folder / f"started-{subject.name}", subject.graph, name="bench")
    kept = (*FLAGS["tensorrt"], "--engine-cache", str(folder / f"engines-{subject.name}"))  # which no other has built
    found = []
    for what, flags in (("CUDA", FLAGS["cuda"]), ("TensorRT, builds", kept), ("TensorRT, finds", kept)):
        try:
            with serving(bundle, flags, server) as running:
                found.append(Start(subject.name, what, running.seconds))
        except NeverReady as error:
            found.append(Start(subject.name, what, failed=str(error)))
    return found


def runs_of(folder: Path) -> list[Timed]:
    return runs(NAMES, ROWS, WAYS, folder)


def served_of(folder: Path) -> list[Served]:
    return [row for make in subjects(NAMES) for device in FLAGS for row in served(make(1), device, CONNECTIONS, folder)]


def starts_of(folder: Path) -> list[Start]:
    return [row for make in subjects(("small", "medium")) for row in starts(make(1), folder)]


SECTIONS: Final[dict[str, tuple[Callable[[Path], list[Any]], Callable[[Any], str]]]] = {
    "checks": (checked, table_checked),
    "runs": (runs_of, table),
    "served": (served_of, table_served),
    "starts": (starts_of, table_starts),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all unless told")
    parser.add_argument(
        "--write-docs",
        action="store_true",
        help=f"put what {FOUND.name} holds into the docs, and run nothing",
    )
    given = parser.parse_args()
    chosen = given.sections or list(SECTIONS)
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}: take of {', '.join(SECTIONS)}")
    document: dict[str, Any] = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    if given.write_docs:
        if lacks := {"runs", "served", "starts"} - set(document):
            parser.error(
                f"{FOUND} lacks {', '.join(sorted(lacks))}: run `make bench-gpu` where a GPU is, or bring the file"
            )
        write_docs(document)
        return 0
    if why := missing():
        print(f"error: {why}", file=sys.stderr)
        return 2
    gpu = nvml.find_gpu(os.environ)
    assert gpu is not None
    document["machine"] = {"gpu": gpu.name, "driver": gpu.driver, "onnxruntime": onnxruntime.__version__}
    print(f"{gpu.name}, driver {gpu.driver}, ONNX Runtime {onnxruntime.__version__}", flush=True)
    kept = True
    with tempfile.TemporaryDirectory() as scratch:
        for name in chosen:
            measure, shown = SECTIONS[name]
            rows = measure(Path(scratch))
            document[name] = [asdict(row) for row in rows]
            FOUND.parent.mkdir(parents=True, exist_ok=True)
            FOUND.write_text(json.dumps(document, indent=1) + "\n")
            print(f"\n{shown(rows)}", flush=True)
            kept = kept and all(row.kept for row in rows if isinstance(row, Check))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
