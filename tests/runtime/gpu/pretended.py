"""A GPU for a machine that has none: ONNX Runtime's own API, with the processor's memory under the name of CUDA's.

Sessions, bindings, copies, profiles and answers are real; only what names a device is changed, at the boundary where
the server speaks to ONNX Runtime.  It fails as a GPU does: in the words of ONNX Runtime's errors, and for good where a
GPU's failure is for good.  As a program it is the server on such a GPU: `python -m tests.runtime.gpu.pretended serve …`
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tidegate_runtime import ort, session
from tidegate_runtime.devices import CPU, CUDA, TENSORRT
from tidegate_runtime.gpu import bound, libraries, nvml, placement
from tidegate_runtime.ort import onnxruntime as real

FULL, LOST = 666.0, 777.0  # inputs that the GPU has no memory for, and that it does not survive
OUT_OF_MEMORY = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running MatMul node. Name:'' "
    "Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::"
    "AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 939524096"
)
ILLEGAL_ACCESS = (
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; "
    "hostname=node-7 ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/gpu_data_transfer.cc ; line=63 ; "
    "expr=cudaMemcpyAsync(dst_data, src_data, bytes, cudaMemcpyHostToDevice, stream);"
)
NO_GRAPH = (
    "This session cannot use the graph capture feature as requested by the user  as all compute graph nodes have not "
    "been partitioned to the CUDAExecutionProvider"
)


@dataclass
class PretendedGpu:
    """Stands in for the module `onnxruntime`; what a test changes is public, and so is what it looks at."""

    starts: bool = True  # else sessions fall back to the processor without a word
    on_the_device: float = 1.0  # share of the operators
    records_graphs: bool = True
    opened: list[dict[str, dict[str, str]]] = field(default_factory=list)  # options by provider, per session
    sessions: list[Any] = field(default_factory=list)
    lost: bool = False
    change_seconds: float = 0.0  # that a session takes longer when its inputs have other sizes than in its last run
    rounds_off: float = 0.0  # share of a row's largest number by which its answer differs with the number of rows
    sizes: list[tuple[tuple[int, ...], ...]] = field(default_factory=list)  # of the inputs of each run
    __version__: str = real.__version__
    cuda_version: str = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(real, name)

    def get_available_providers(self) -> list[str]:
        return [TENSORRT, CUDA, CPU]

    def preload_dlls(self) -> None:
        """Nothing to load."""

    @property
    def OrtValue(self) -> Any:
        return SimpleNamespace(
            ortvalue_from_numpy=real.OrtValue.ortvalue_from_numpy,
            ortvalue_from_shape_and_type=lambda shape, kind, _device, number: (
                real.OrtValue.ortvalue_from_shape_and_type(shape, kind, "cpu", number)
            ),
        )

    def InferenceSession(self, path: str, options: Any, *, providers: list[Any], enable_fallback: int) -> Any:
        if providers == [CPU]:
            return real.InferenceSession(path, options, providers=providers, enable_fallback=enable_fallback)
        told = {one[0]: dict(one[1]) for one in providers if isinstance(one, tuple)}
        self.opened.append(told)
        self._read_engines(told.get(TENSORRT, {}))
        if told[CUDA].get("enable_cuda_graph") == "1" and not self.records_graphs:
            raise RuntimeError(NO_GRAPH)
        provider = TENSORRT if TENSORRT in told else CUDA
        inner = real.InferenceSession(path, options, providers=[CPU], enable_fallback=enable_fallback)
        self.sessions.append(_Session(self, provider, inner))
        return self.sessions[-1]

    def _read_engines(self, told: dict[str, str]) -> None:
        """As TensorRT does: load the engine that is there, or build it."""
        if told.get("trt_engine_cache_enable") != "1":
            return
        engine = Path(told["trt_engine_cache_path"]) / "TRTKernel_graph_1_0_sm90.engine"
        if engine.exists() and engine.read_text() != "an engine":
            raise RuntimeError(f"TensorRT EP could not deserialize engine from cache: {engine}")
        if not engine.exists():
            engine.write_text("an engine")


class _Session:
    """A session on the processor that says of itself that it is on the GPU."""

    def __init__(self, gpu: PretendedGpu, provider: str, inner: Any) -> None:
        self._gpu, self._provider, self._inner = gpu, provider, inner
        self.last: tuple[tuple[int, ...], ...] = ()  # sizes of the inputs of the last run

    def __getattr__(self, name: str) -> Any:
        return (
            getattr(self._inner, name) if name != "_sess" else None
        )  # the server's shortcut would pass by what follows

    def get_providers(self) -> list[str]:
        return [self._provider, CPU] if self._gpu.starts else [CPU]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        there = round(10 * self._gpu.on_the_device)
        parts = ((self._provider, there), (CPU, 10 - there))
        return [SimpleNamespace(ep_name=name, get_nodes=lambda count=count: [None] * count) for name, count in parts]

    def end_profiling(self) -> str:
        path = Path(self._inner.end_profiling())
        path.write_text(path.read_text().replace(CPU, self._provider))
        return str(path)

    def io_binding(self) -> Any:
        return self._inner.io_binding()

    def run(self, names: list[str], feeds: dict[str, Any], options: Any) -> Any:
        self._begin(feeds)
        return self._inner.run(names, feeds, options)

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        feeds = {name: value.numpy() for name, value in binding._bound_inputs.items()}
        self._begin(feeds)
        self._inner.run_with_iobinding(binding, options)
        if self._gpu.rounds_off:
            rows = len(next(iter(feeds.values())))
            for value in binding.get_outputs():
                self._round_off(value, rows)

    def _round_off(self, value: Any, rows: int) -> None:
        array = value.numpy()
        if array.dtype.kind == "f":
            off = self._gpu.rounds_off * np.abs(array).max(axis=-1, keepdims=True)
            value.update_inplace(array + (off if rows % 2 else -off).astype(array.dtype))

    def _begin(self, feeds: dict[str, Any]) -> None:
        """As every run of a convolution: plans are made for the sizes of this run, unless they are those of the last."""
        sizes = tuple(array.shape for array in feeds.values())
        self._gpu.sizes.append(sizes)
        if sizes != self.last:
            time.sleep(self._gpu.change_seconds)
        self.last = sizes
        self._fail_for(feeds)

    def _fail_for(self, feeds: dict[str, Any]) -> None:
        values = [array for array in feeds.values() if array.dtype.kind == "f"]
        self._gpu.lost = self._gpu.lost or any(bool(np.any(array == LOST)) for array in values)
        if self._gpu.lost:
            raise RuntimeError(ILLEGAL_ACCESS)
        if any(bool(np.any(array == FULL)) for array in values):
            raise RuntimeError(OUT_OF_MEMORY)


class PretendedNvml:
    """`pynvml`, as it is documented: functions, constants, and one error for what a GPU does not tell."""

    NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC, NVML_DEVICE_MIG_ENABLE = 1, 0, 1

    class NVMLError(Exception):
        pass

    def __init__(self, *, sliced: bool = False, silent: bool = False) -> None:
        self.sliced, self.silent = sliced, silent

    def nvmlInit(self) -> None:
        if self.silent:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.159.04"

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"GPU-{index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid.startswith("GPU-9"):
            raise self.NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetMigMode(self, handle: str) -> list[int]:
        if not self.sliced:
            raise self.NVMLError("Not Supported")
        return [1, 1]

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: str, index: int) -> str:
        return f"MIG-{handle}-{index}"

    def nvmlDeviceGetName(self, handle: str) -> str:
        return "NVIDIA H100 80GB HBM3" + (" MIG 1g.10gb" if handle.startswith("MIG") else "")

    def nvmlDeviceGetUUID(self, handle: str) -> str:
        return handle

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        if self.silent:
            raise self.NVMLError("GPU is lost")
        return SimpleNamespace(used=3 * 2**30, total=80 * 2**30)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:
        if handle.startswith("MIG"):
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(gpu=45, memory=10)

    def nvmlDeviceGetTotalEccErrors(self, handle: str, kind: int, since: int) -> int:
        return 0


def install(gpu: PretendedGpu, replace: Any) -> None:
    """Let the server find `gpu`; `replace(module, name, value)` puts a value in a module."""
    for module in (ort, session, placement, bound, libraries):
        replace(module, "onnxruntime", gpu)
    replace(placement, "find_gpu", lambda _environment: nvml.open_gpu(PretendedNvml(), 0))


def main() -> int:
    """The server's command on a pretended GPU."""
    from tidegate_runtime.main import main as serve

    install(PretendedGpu(**json.loads(sys.argv.pop(1))), setattr)
    return serve()


if __name__ == "__main__":
    sys.exit(main())
