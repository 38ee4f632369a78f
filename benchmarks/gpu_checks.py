"""What a server promises of its GPU, seen from outside: a real process on the real device, one check after the other.

The figures say how fast it is; this says whether it is right, whose fault a failure is called, and how it is told.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import uvloop
from benchmarks.gpu_server import SERVER, NeverReady, Server, serving
from benchmarks.load import load, post
from onnx import TensorProto, helper
from tests.runtime import small_bundles as small

from tidegate.bundle.golden import GoldenSample
from tidegate_runtime.gpu import libraries

UNAVAILABLE: Final = 503
CUDA: Final = ("--device", "cuda")
TENSORRT: Final = ("--device", "tensorrt")


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, what was seen, and whether it was kept."""

    promise: str
    seen: str
    kept: bool


def having(options: str, device: Sequence[str] = CUDA) -> tuple[str, ...]:
    """The flags of a device with provider options."""
    return (*device, "--provider-options", options)


@contextlib.contextmanager
def served(
    folder: Path,
    graph: onnx.ModelProto,
    samples: Sequence[GoldenSample] = (),
    flags: Sequence[str] = CUDA,
    command: Sequence[str] = (),
    **environment: str,
) -> Iterator[Server | str]:
    """A ready server of the model, or why there is none."""
    bundle = small.write_bundle(folder / f"bundle-{time.monotonic_ns()}", graph, samples, name="bench")
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(serving(bundle, flags, command or SERVER, **environment))
        except NeverReady as error:
            yield str(error)
        else:
            yield server


def widening(columns: int) -> onnx.ModelProto:
    """A number of each row times a wide vector, summed up again: much memory for a small request and answer."""
    nodes = [
        helper.make_node("MatMul", ["x", "wide"], ["much"]),
        helper.make_node("Tanh", ["much"], ["more"]),
        helper.make_node("ReduceSum", ["more", "axis"], ["y"], keepdims=0),
    ]
    x, y = small.value("x", TensorProto.FLOAT, ["N", 1]), small.value("y", TensorProto.FLOAT, ["N"])
    wide = np.full((1, columns), 1e-3, np.float32)
    return small.model(nodes, [x], [y], {"wide": wide, "axis": np.array([1])})


def chosen() -> onnx.ModelProto:
    """The positive numbers of a row: how many come out follows from the values only."""
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["positive"]),
        helper.make_node("Compress", ["x", "positive"], ["y"]),
    ]
    x, y = small.value("x", TensorProto.FLOAT, ["N"]), small.value("y", TensorProto.FLOAT, ["M"])
    return small.model(nodes, [x], [y], {"zero": np.array(0, np.float32)})


def shifts() -> onnx.ModelProto:
    """Operators that ONNX Runtime has for processors only."""
    names = ["x", "a", "b", "y"]
    nodes = [helper.make_node("BitShift", [one, "by"], [other], direction="LEFT") for one, other in pairwise(names)]
    x, y = (small.value(name, TensorProto.UINT64, ["N"]) for name in "xy")
    return small.model(nodes, [x], [y], {"by": np.array(1, np.uint64)})


def scores_are(x: Any, body: Any) -> bool:
    """Whether this is the answer of `small.linear` for x, within what TF32 loses."""
    found = {one["name"]: one["data"] for one in body.get("outputs", ())}
    return len(found.get("scores", ())) == 3 * len(x) and np.allclose(
        found["scores"], (x @ small.WEIGHTS).ravel(), atol=2e-2, rtol=1e-2
    )


def proved(folder: Path, flags: Sequence[str] = CUDA, promise: str = "a sound model is ready") -> Check:
    """Samples of the processor hold on the GPU, and the operators that ran are counted by provider."""
    graph, samples = small.laboured(small.WEIGHTS, 6), small.linear_samples()
    with served(folder, graph, samples, flags) as server:
        if isinstance(server, str):
            return Check(promise, server, kept=False)
        x = np.arange(12, dtype=np.float32).reshape(3, 4)
        status, body = server.infer("x", x)
        right = scores_are(x, body)
        work = server.figures("tidegate_device_operators")
    found = ", ".join(f"{name.rpartition('provider=')[2][1:-2]} {number:.0f}" for name, number in work.items())
    return Check(f"{promise}, and answers rightly", f"{status}; {found}", right and bool(work))


def figures(folder: Path) -> Check:
    """NVML's figures while the GPU works."""
    with served(folder, small.laboured(small.WEIGHTS, 200)) as server:
        if isinstance(server, str):
            return Check("the driver's figures are told", server, kept=False)
        tensor = {"name": "x", "datatype": "FP32", "shape": [32, 4], "data": [0.5] * 128}
        request = post("/v2/models/bench/infer", json.dumps({"inputs": [tensor]}).encode())
        uvloop.run(load("127.0.0.1", server.http, request, 8, 3.0))
        told = server.figures("tidegate_gpu_")
    found = {name.partition("{")[0].removeprefix("tidegate_gpu_"): number for name, number in told.items()}
    kept = 0 < found.get("memory_used_bytes", 0) <= found.get("memory_bytes", 0) and found.get("utilization", 0) > 0
    return Check("the driver's figures are told", ", ".join(f"{k} {v:g}" for k, v in found.items()), kept)


def refused(promise: str, words: str, **given: Any) -> Callable[[Path], Check]:
    """A server that must not get ready, and whose error says `words`."""

    def check(folder: Path) -> Check:
        with served(folder, **given) as server:
            if isinstance(server, Server):
                return Check(promise, "it is ready", kept=False)
            return Check(promise, server, words in server)

    return check


def full(folder: Path) -> Check:
    """Too many rows for the memory are refused, and the next request is answered."""
    promise = "a run without memory is 503, and the next one is answered"
    with served(folder, widening(2**20), flags=having(f"gpu_mem_limit={2**28}")) as server:
        if isinstance(server, str):
            return Check(promise, server, kept=False)
        few, many = (np.ones((rows, 1), np.float32) for rows in (1, 64))
        answers = [server.infer("x", rows) for rows in (few, many, few)]
        live = server.probe("/livez")[0]
    told = answers[1][1].get("error", "") if isinstance(answers[1][1], dict) else answers[1][1]
    found = [status for status, _ in answers]
    return Check(promise, f"{found}, livez {live}: {told}", (found, live) == ([200, UNAVAILABLE, 200], 200))


def shaped(folder: Path) -> Check:
    """Outputs whose sizes follow from values come out whole, whatever came before."""
    promise = "outputs of sizes that only the values tell are right"
    with served(folder, chosen()) as server:
        if isinstance(server, str):
            return Check(promise, server, kept=False)
        random, wrong = np.random.default_rng(5), 0
        for _ in range(50):
            x = random.standard_normal(int(random.integers(1, 40))).astype(np.float32)
            status, body = server.infer("x", x)
            got = body["outputs"][0]["data"] if status == 200 else None
            wrong += got is None or not np.array_equal(np.array(got, np.float32), x[x > 0])
    return Check(promise, f"{50 - wrong} of 50", wrong == 0)


def recorded(folder: Path, device: Sequence[str] = CUDA) -> Check:
    """A recorded graph answers by the input it is given, not by the one it was recorded with."""
    promise = f"{'TensorRT: ' if device == TENSORRT else ''}a recorded CUDA graph answers each input by itself"
    graph = small.laboured(small.WEIGHTS, 6)
    for tensor in (*graph.graph.input, *graph.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 3
    with served(folder, graph, flags=having("enable_cuda_graph=1", device)) as server:
        if isinstance(server, str):
            return Check(promise, server, kept=False)
        random, right = np.random.default_rng(6), 0
        for _ in range(50):
            x = random.standard_normal((3, 4)).astype(np.float32)
            right += scores_are(x, server.infer("x", x)[1])
    return Check(promise, f"{right} of 50", right == 50)


def lost(folder: Path) -> Check:
    """A kernel that writes where no memory is takes the device from the process; Kubernetes has to know."""
    promise = "a lost device is 503 for whoever asks, and fails liveness"
    lose = folder / "lose"
    command = (sys.executable, "-m", "benchmarks.gpu_loss", str(lose))
    x = np.ones((1, 4), np.float32)
    with served(folder, small.linear(), small.linear_samples(), command=command) as server:
        if isinstance(server, str):
            return Check(promise, server, kept=False)
        before = server.infer("x", x)[0], server.probe("/livez")[0]
        lose.touch()
        if not come_true(lambda: not lose.exists()):
            return Check(promise, "the device could not be taken away", kept=False)
        status, body = server.infer("x", x)
        live = come_true(lambda: server.probe("/livez")[0] == UNAVAILABLE)
        again = server.infer("x", x)[0]
        told = f"livez {server.probe('/livez')}"
    error = body.get("error", "") if isinstance(body, dict) else body
    kept = (*before, status, again) == (200, 200, UNAVAILABLE, UNAVAILABLE) and live
    return Check(promise, f"{before}, then {status}: {error}, {told}, then {again}", kept)


def proved_by_tensorrt(folder: Path) -> Check:
    return proved(folder, TENSORRT, "TensorRT: a sound model is ready")


def proved_in_fp16(folder: Path) -> Check:
    return proved(folder, having("trt_fp16_enable=1", TENSORRT), "TensorRT in FP16: a sound model is ready")


def recorded_by_tensorrt(folder: Path) -> Check:
    return recorded(folder, TENSORRT)


def other_weights(folder: Path) -> Check:
    """Engines are kept for a model, not for a graph: another training of it is the usual new version."""
    promise = "TensorRT: kept engines are used again, and not for other weights of the same graph"
    x, flags = np.ones((3, 4), np.float32), (*TENSORRT, "--engine-cache", str(folder / "engines"))
    right, seconds, written = [], [], []
    for factor in (1, -1, 1):
        with served(folder, small.laboured(factor * small.WEIGHTS, 6), flags=flags) as server:
            if isinstance(server, str):
                return Check(promise, server, kept=False)
            right.append(scores_are(factor * x, server.infer("x", x)[1]))
            seconds.append(server.seconds)
        written.append({path: path.stat().st_mtime_ns for path in (folder / "engines").glob("*/*.engine")})
    folders = len(list((folder / "engines").iterdir()))
    seen = f"{sum(right)} of 3 right, {folders} folders, ready after {', '.join(f'{one:.1f}' for one in seconds)} s"
    return Check(promise, seen, right == [True] * 3 and folders == 2 and written[1] == written[2])


def too_many_rows(folder: Path) -> Check:
    """Engines are built for so many rows; more of them would be built anew in a request."""
    promise = "TensorRT: a request of more rows than the engines are for is 400"
    with served(folder, small.linear(), flags=(*TENSORRT, "--max-batch-size", "4")) as server:
        if isinstance(server, str):
            return Check(promise, server, kept=False)
        answers = [server.infer("x", np.ones((rows, 4), np.float32)) for rows in (4, 5, 1)]
    found = [status for status, _ in answers]
    return Check(promise, f"{found}: {answers[1][1].get('error', '')}", found == [200, 400, 200])


def stretching() -> onnx.ModelProto:
    """A second size that only the user knows."""
    x, y = (small.value(name, TensorProto.FLOAT, ["N", "LENGTH"]) for name in "xy")
    return small.model([helper.make_node("Tanh", ["x"], ["y"])], [x], [y], {})


def come_true(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < until:
        time.sleep(0.05)
    return found


WRONG: Final = [
    GoldenSample({"x": np.ones((1, 4), np.float32)}, {"scores": np.full((1, 3), 9, np.float32), "label": np.array([0])})
]
CHECKS: Final[Sequence[Callable[[Path], Check]]] = (
    proved,
    figures,
    shaped,
    recorded,
    full,
    refused("no GPU is no slow success", "DeviceUnavailable", graph=small.linear(), CUDA_VISIBLE_DEVICES="-1"),
    refused(
        "weights that do not fit are the machine's fault", "DeviceUnavailable", graph=widening(2**26),
        flags=having(f"gpu_mem_limit={2**24}"),
    ),
    refused("a graph that the GPU cannot run is not run slowly", "DeviceUnavailable", graph=shifts()),
    refused("wrong samples refuse the model", "GoldenMismatch", graph=small.linear(), samples=WRONG),
    refused(
        "a wrong option is named", "cudnn_conv_algo_search", graph=small.linear(),
        flags=having("cudnn_conv_algo_search=9"),
    ),
    lost,
)  # fmt: skip


TENSORRT_CHECKS: Final[Sequence[Callable[[Path], Check]]] = (
    proved_by_tensorrt,
    proved_in_fp16,
    recorded_by_tensorrt,
    other_weights,
    too_many_rows,
    refused(
        "TensorRT: sizes that only the user knows are asked for", "leaves 'LENGTH' open", graph=stretching(),
        flags=TENSORRT,
    ),
)  # fmt: skip


def table(found: Sequence[Check]) -> str:
    lines = ["| promise | seen | |", "|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| {one.promise} | {one.seen} | {'kept' if one.kept else 'NOT KEPT'} |" for one in found)]
    )


def checked(folder: Path) -> list[Check]:
    libraries.load("tensorrt")
    found = []
    for check in (*CHECKS, *(TENSORRT_CHECKS if libraries.tensorrt_version() else ())):
        found.append(check(folder))
        print(
            f"  {'ok ' if found[-1].kept else 'NOT'} {found[-1].promise}: {found[-1].seen}", file=sys.stderr, flush=True
        )
    return found
