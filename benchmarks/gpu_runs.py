"""The ways to run one model on a GPU, each timed in this process and its answers compared with the processor's."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
from tidegate_runtime.watchdog import RunLane, Watchdog

SECONDS = 1.0  # of timed runs, after as many again to warm up
FEWEST = 20
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


def timed(subject: Subject, way: Way, folder: Path) -> Timed:
    """Open, compare, time; what cannot be done on this machine is told and no error."""
    wanted = on_processor(subject)
    watchdog = Watchdog()
    watchdog.start()
    try:
        run = opened(subject, way, watchdog.lane(), folder)
        worst = difference(run(), wanted)
        if worst > FAR_OFF:
            return Timed(subject.name, subject.rows, way.name, failed=f"answers are off by {worst:.2g}")
        return Timed(subject.name, subject.rows, way.name, median(run), worst)
    except TidegateError as error:
        return Timed(subject.name, subject.rows, way.name, failed=str(error))
    finally:
        watchdog.stop()


def opened(subject: Subject, way: Way, lane: RunLane, folder: Path) -> Run:
    bundle = folder / f"{subject.name}-{subject.rows}{'-fixed' if way.fixed else ''}"
    if not bundle.exists():
        small.write_bundle(bundle, subject.fixed() if way.fixed else subject.graph, name="bench")
    feeds = {subject.input: subject.x}
    rows = str(max(32, subject.rows))
    settings = parse(["--bundle", str(bundle), "--max-batch-size", rows, *way.flags], {})
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
        model = session.load(settings, lane)
    return lambda: model.run(feeds, lane)


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


def median(run: Run) -> float:
    """Seconds of one run."""
    for _ in range(2):  # the first time for clocks, caches and kernels
        took: list[float] = []
        until = time.perf_counter() + SECONDS
        while len(took) < FEWEST or time.perf_counter() < until:
            began = time.perf_counter()
            run()
            took.append(time.perf_counter() - began)
    return statistics.median(took)
