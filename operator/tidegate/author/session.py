"""Running a model while its bundle is being made: quiet sessions, repeatable settings, errors in one sentence."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnxruntime

from tidegate.bundle.element_types import ELEMENT_TYPES
from tidegate.bundle.errors import ModelInvalid
from tidegate.bundle.manifest import Interface

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]

BF16 = 16
ONLY_FATAL = 4
LARGE = 256 << 20  # bytes of weights from which memory counts more than a few percent of time


@dataclass(frozen=True, slots=True)
class Settings:
    """What should change little about an answer; the calibration of tolerances goes through several of these."""

    threads: int = 1
    optimize: bool = True
    cuda: bool = False
    tf32: bool = False  # a GPU may multiply 32-bit numbers with 10 bits of their fractions

    def __str__(self) -> str:
        if self.cuda:
            return f"CUDA, TF32 {'on' if self.tf32 else 'off'}"
        return f"{self.threads} thread{'s' * (self.threads > 1)}, graph optimization {'on' if self.optimize else 'off'}"

    def providers(self) -> list[Any]:
        """As ONNX Runtime takes them, the CPU last for what a GPU does not do."""
        gpu = [("CUDAExecutionProvider", {"use_tf32": str(int(self.tf32))})] if self.cuda else []
        return [*gpu, "CPUExecutionProvider"]


def has_cuda() -> bool:
    """Whether there is a GPU that the ONNX Runtime installed here uses."""
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return False
    try:
        nvml: Any = importlib.import_module("pynvml")  # of the extra runtime-cuda
    except ImportError:
        return False
    with contextlib.suppress(nvml.NVMLError):
        nvml.nvmlInit()
        return bool(nvml.nvmlDeviceGetCount())
    return False


def open_session(path: Path, settings: Settings = Settings()) -> onnxruntime.InferenceSession:
    """Load the model at `path`; raises ModelInvalid with ONNX Runtime's own reason."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ONLY_FATAL
    if _weight_bytes(path) > LARGE:
        options.add_session_config_entry("session.disable_prepacking", "1")  # it would copy every weight
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if settings.optimize else level.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=settings.providers())
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a dozen types without a common base
        raise ModelInvalid(
            f"ONNX Runtime {onnxruntime.__version__} cannot load it: {reason_of(error)}", where=path.name
        ) from None


def _weight_bytes(path: Path) -> int:
    """Of the weights beside the graph."""
    return sum(file.stat().st_size for file in (path.parent / "weights").glob("*.bin"))


@dataclass(frozen=True, slots=True)
class Runner:
    """A loaded model with its interface, so that answers come back by name."""

    session: onnxruntime.InferenceSession
    interface: Interface

    def run(self, inputs: Tensors, replaced: Mapping[str, Any] | None = None) -> dict[str, Array]:
        """One answer; `replaced` gives other values to initializers that may be replaced."""
        names = [output.name for output in self.interface.outputs]
        options = onnxruntime.RunOptions()
        options.log_severity_level = ONLY_FATAL
        try:
            given = self.session.run(names, {**self._fed(inputs), **(replaced or {})}, options)
        except Exception as error:  # noqa: BLE001 - as above
            raise ModelInvalid(f"it does not run: {reason_of(error)}", where="the model") from None
        return dict(zip(names, given, strict=True))

    def run_pool(self, pool: Tensors, replaced: Mapping[str, Any] | None = None) -> dict[str, Array]:
        """Answers to a pool: rows of one batch where the model takes batches, else one request after the other."""
        if self.interface.batched:
            return self.run(pool, replaced)
        answers = [self.run(request_of(self.interface, pool, [row]), replaced) for row in range(rows_of(pool))]
        try:
            return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}
        except ValueError:
            raise ModelInvalid("its outputs change their shape from input to input", where="the model") from None

    def _fed(self, inputs: Tensors) -> dict[str, Any]:
        kinds = {tensor.name: tensor.element_type for tensor in self.interface.inputs}
        return {name: _bf16(array) if kinds.get(name) == "BF16" else array for name, array in inputs.items()}


def open_runner(path: Path, interface: Interface, settings: Settings = Settings()) -> Runner:
    """Load the model at `path` for its interface."""
    return Runner(open_session(path, settings), interface)


def _bf16(array: Array) -> onnxruntime.OrtValue:
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, BF16)


def reason_of(error: Exception) -> str:
    """The part of ONNX Runtime's message that a person can use: one line without source paths."""
    text = str(error).replace("\n", " ")
    for marker in (" : FAIL : ", " : INVALID_ARGUMENT : ", " : RUNTIME_EXCEPTION : ", " : INVALID_GRAPH : "):
        if marker in text:
            text = text.split(marker, 1)[1]
    return text[:300]


def rows_of(tensors: Tensors) -> int:
    """How many rows a batch holds."""
    return int(next(iter(tensors.values())).shape[0])


def request_of(interface: Interface, pool: Tensors, rows: Sequence[int]) -> dict[str, Array]:
    """What is sent for these rows of a pool; where the model takes no batches, for the only one."""
    return take(pool, list(rows)) if interface.batched else take(pool, rows[0])


def as_pool(interface: Interface, rows: Tensors) -> dict[str, Array]:
    """Rows of data as a pool: a model that takes one row at a time gets each as a batch of one."""
    ranks = {tensor.name: len(tensor.shape) for tensor in interface.inputs}
    alone = not interface.batched
    return {name: array[:, None] if alone and array.ndim == ranks[name] else array for name, array in rows.items()}


def take(tensors: Tensors, rows: Any) -> dict[str, Array]:
    """These rows of every tensor."""
    return {name: np.asarray(array[rows], order="C") for name, array in tensors.items()}


def as_type(array: Any, element_type: str) -> Array:
    """As the dtype that this element type has in a sample; texts become `str` objects, BF16 its bits."""
    given = np.asarray(array)
    if element_type == "BYTES":
        return np.array([_text(item) for item in given.reshape(-1).tolist()], dtype=object).reshape(given.shape)
    if element_type == "BF16":
        return given.astype(ml_dtypes.bfloat16, order="C").view(np.uint16)
    return given.astype(ELEMENT_TYPES[element_type].numpy, order="C")


def _text(item: object) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
