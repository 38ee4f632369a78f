"""The ways to run one model on a GPU, each timed in this process and its answers compared with the processor's."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper
from tests.runtime import small_bundles as small

from tidegate.bundle.manifest import read_bundle_dir
from tidegate.errors import TidegateError
from tidegate_runtime import ort, session
from tidegate_runtime.gpu import libraries, placement
from tidegate_runtime.runners import runner
from tidegate_runtime.settings import parse
from tidegate_runtime.watchdog import Watchdog

ROUNDS = 15
TURN = 0.04  # seconds of runs of one way, before the next has its turn
FEWEST = 3
FAR_OFF = 2e-2  # of the largest output: TF32 and FP16 are within, another model is not
Array = Any
Run = Callable[[], list[Array]]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with rows for its input; `fixed`: a graph whose sizes are those rows, for CUDA graphs."""

    name: str
    graph: onnx.ModelProto
    input: str
    x: Array

    @property
    def rows(self) -> int:
        return len(self.x)

    def fixed(self) -> onnx.ModelProto:
        graph = onnx.ModelProto()
        graph.CopyFrom(self.graph)
        for tensor in (*graph.graph.input, *graph.graph.output):
            tensor.type.tensor_type.shape.dim[0].dim_value = self.rows
        return graph


@dataclass(frozen=True, slots=True)
class Way:
    """How to run: the server's flags; `pinned`: with page-locked buffers; `plain`: a bare session instead."""

    name: str
    flags: Sequence[str] = ("--device", "cuda")
    plain: bool = False
    pinned: bool = True
    fixed: bool = False

    @property
    def device(self) -> str:
        return self.flags[1]


CUDA_ONLY, TENSORRT = ("--device", "cuda"), ("--device", "tensorrt")
FP16, GRAPHS = "trt_fp16_enable=1", "enable_cuda_graph=1"
WAYS = (
    Way("session.run", plain=True),
    Way("bound, pageable", pinned=False),
    Way("bound, pinned"),
    Way("without TF32", (*CUDA_ONLY, "--provider-options", "use_tf32=0")),
    Way("CUDA graph", (*CUDA_ONLY, "--provider-options", GRAPHS), fixed=True),
    Way("TensorRT", TENSORRT),
    Way("TensorRT fp16", (*TENSORRT, "--provider-options", FP16)),
    Way("TensorRT fp16, graph", (*TENSORRT, "--provider-options", f"{FP16} {GRAPHS}"), fixed=True),
)


@dataclass(frozen=True, slots=True)
class Timed:
    """Medians of one way; `failed` says why there are none. Seconds."""

    model: str
    rows: int
    way: str
    seconds: float = 0.0
    worst: float = 0.0  # difference from the processor's answer, as a share of its largest number
    failed: str = ""


def half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in FP16, input and output too."""
    found = onnx.ModelProto()
    found.CopyFrom(graph)
    for index, weight in enumerate(found.graph.initializer):
        narrow = numpy_helper.to_array(weight).astype(np.float16)
        found.graph.initializer[index].CopyFrom(numpy_helper.from_array(narrow, weight.name))
    for tensor in (*found.graph.input, *found.graph.output):
        tensor.type.tensor_type.elem_type = TensorProto.FLOAT16
    return found


def timed(subject: Subject, ways: Sequence[Way], folder: Path) -> list[Timed]:
    """Open all, compare, and time them in turns; what cannot be done on this machine is told and no error."""
    wanted = on_processor(subject)
    watchdog = Watchdog()
    watchdog.start()
    try:
        tried = {way: tried_once(subject, way, watchdog, folder, wanted) for way in ways}
        runs = {way: run for way, (run, _) in tried.items() if run is not None}
        seconds = dict(zip(runs, medians(list(runs.values())), strict=True))
    finally:
        watchdog.stop()
    return [replace(found, seconds=seconds.get(way, 0.0)) for way, (_, found) in tried.items()]


def tried_once(
    subject: Subject, way: Way, watchdog: Watchdog, folder: Path, wanted: list[Array]
) -> tuple[Run | None, Timed]:
    """A way to run, and how far off its answers are; None: it does not go, or they are another model's."""
    found = Timed(subject.name, subject.rows, way.name)
    try:
        run = opened(subject, way, watchdog, folder)
        worst = difference(run(), wanted)
    except TidegateError as error:
        return None, replace(found, failed=str(error))
    if worst > FAR_OFF:
        return None, replace(found, failed=f"answers are off by {worst:.2g}")
    return run, replace(found, worst=worst)


def opened(subject: Subject, way: Way, watchdog: Watchdog, folder: Path) -> Run:
    """The lane of a load gives memory back after each run, for the server's sake: what is timed has another."""
    lane = watchdog.lane()
    bundle = folder / f"{subject.name}-{subject.rows}{'-fixed' if way.fixed else ''}"
    if not bundle.exists():
        small.write_bundle(bundle, subject.fixed() if way.fixed else subject.graph, name="bench")
    feeds = {subject.input: subject.x}
    rows = str(max(32, subject.rows))
    flags = [*way.flags, *kept_engines(way.device, folder)]
    settings = parse(["--bundle", str(bundle), "--max-batch-size", rows, *flags], {})
    if way.plain:
        made = placement.Placement(read_bundle_dir(bundle), (), settings, folder)
        path, onnx_runtime = str(bundle / "model.onnx"), ort.onnxruntime
        bare = onnx_runtime.InferenceSession(
            path, onnx_runtime.SessionOptions(), providers=made.providers(), enable_fallback=0
        )
        names = [output.name for output in subject.graph.graph.output]
        call = runner([bare], read_bundle_dir(bundle))
        return lambda: call(names, feeds, lane.options)
    with contextlib.nullcontext() if way.pinned else pageable():
        model = session.load(settings, watchdog.lane())
    return lambda: model.run(feeds, lane)


def kept_engines(device: str, folder: Path) -> list[str]:
    """TensorRT builds the engines of a bundle once for all that run it: its flags."""
    return ["--engine-cache", str(folder / "engines")] if device == "tensorrt" else []


@contextlib.contextmanager
def pageable() -> Iterator[None]:
    """Buffers in ordinary memory, as if CUDA had no other to give."""
    found, libraries.cuda_runtime = libraries.cuda_runtime, lambda: None
    try:
        yield
    finally:
        libraries.cuda_runtime = found


def on_processor(subject: Subject) -> list[Array]:
    bare = onnxruntime.InferenceSession(subject.graph.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[Array] = bare.run(None, {subject.input: subject.x})
    return found


def difference(found: list[Array], wanted: list[Array]) -> float:
    """The worst difference as a share of the largest number; infinite where something is not finite."""
    worst = 0.0
    for one, other in zip(found, wanted, strict=True):
        off = np.abs(one.astype(np.float64) - other.astype(np.float64)).max() / max(float(np.abs(other).max()), 1e-9)
        worst = max(worst, float(off) if np.isfinite(off) else np.inf)
    return worst


def medians(runs: Sequence[Run]) -> list[float]:
    """Seconds of one run of each, measured in turns so that a slow minute is everybody's."""
    took: list[list[float]] = [[] for _ in runs]
    for round_ in range(ROUNDS + 1):  # the first one warms up: clocks, caches, kernels
        for times, run in zip(took, runs, strict=True):
            began, count = time.perf_counter(), 0
            while count < FEWEST or time.perf_counter() - began < TURN:
                run()
                count += 1
            if round_:
                times.append((time.perf_counter() - began) / count)
    return [statistics.median(times) for times in took]
