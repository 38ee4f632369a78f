"""What the GPU's execution providers are told: defaults that suit a server, and above them what the user asked for.

Pure: the bundle's interface and the settings come in, options go out as ONNX Runtime takes them, all of them text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tidegate.bundle.golden import GoldenSample
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.errors import Invalid
from tidegate_runtime.devices import CUDA, TENSORRT

Options = dict[str, str]
OF_TENSORRT: Final = "trt_"
GRAPH: Final = "enable_cuda_graph"  # a wish, for TensorRT too, which calls it otherwise: see `wants_graphs`
SHAPES: Final = tuple(f"trt_profile_{which}_shapes" for which in ("min", "opt", "max"))
# What would undo a decision made here or elsewhere: which device, which files, whose memory and streams.
OURS: Final = frozenset({
    "device_id", "gpu_external_alloc", "gpu_external_empty_cache", "gpu_external_free",
    "has_user_compute_stream", "trt_cuda_graph_enable", "trt_dump_ep_context_model", "trt_dump_subgraphs",
    "trt_engine_cache_enable", "trt_engine_cache_path", "trt_engine_cache_prefix", "trt_engine_decryption_enable",
    "trt_engine_decryption_lib_path", "trt_ep_context_file_path", "trt_external_data_bytestream",
    "trt_extra_plugin_lib_paths", "trt_onnx_bytestream", "trt_onnx_model_folder_path", "trt_timing_cache_enable",
    "trt_timing_cache_path", "user_compute_stream",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a model is to be run with. `most_rows`: of one run; `engines`: the folder that engines are kept in."""

    device: str
    interface: Interface
    given: Mapping[str, str]
    most_rows: int
    graphs: bool
    engines: str = ""


def options(wanted: Wanted) -> dict[str, Options]:
    """The options of each provider by its name; raises Invalid for options that are not the user's to set."""
    _require_allowed(wanted)
    found = {CUDA: _cuda(wanted)}
    return {TENSORRT: _tensorrt(wanted), **found} if wanted.device == "tensorrt" else found


def _require_allowed(wanted: Wanted) -> None:
    for name in wanted.given:
        if name in OURS:
            raise Invalid(f"the provider option '{name}' is set by the server itself", do="leave it out")
        if name.startswith(OF_TENSORRT) and wanted.device != "tensorrt":
            raise Invalid(f"the provider option '{name}' is TensorRT's", do="use device: tensorrt, or leave it out")


def _cuda(wanted: Wanted) -> Options:
    found = {
        "device_id": "0",  # of those that CUDA_VISIBLE_DEVICES or the pod's resource lets it see
        # By default the arena doubles when it grows, and never gives back: up to half of it would lie idle.
        "arena_extend_strategy": "kSameAsRequested",
        # The exhaustive search costs seconds for each new shape: made in the warm-up where shapes are fixed, and
        # not in a user's request where they are not.
        "cudnn_conv_algo_search": "EXHAUSTIVE" if fixed(wanted.interface.inputs) else "HEURISTIC",
    }
    if wanted.graphs and wanted.device == "cuda":
        found[GRAPH] = "1"
    given = wanted.given.items()
    return found | {name: value for name, value in given if name != GRAPH and not name.startswith(OF_TENSORRT)}


def _tensorrt(wanted: Wanted) -> Options:
    given = {name: value for name, value in wanted.given.items() if name.startswith(OF_TENSORRT)}
    found = {"device_id": "0"}
    if wanted.engines:
        found |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": wanted.engines}
        found |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": wanted.engines}
    if wanted.graphs:
        found["trt_cuda_graph_enable"] = "1"
    if not given.keys() & set(SHAPES):
        found |= profile(wanted.interface.inputs, wanted.most_rows)
    return found | given


def profile(inputs: Iterable[TensorSpec], most_rows: int) -> Options:
    """From one row to `most_rows`, tuned for the most; nothing where all sizes are fixed.

    Without a profile TensorRT builds a new engine for each size that it meets, for minutes and in a user's request:
    raises Invalid where sizes other than the number of rows are open, because only the user knows them.
    """
    shapes: dict[str, tuple[str, str]] = {}
    for spec in inputs:
        if all(isinstance(size, int) for size in spec.shape):
            continue
        first, *rest = spec.shape
        if unknown := [size for size in rest if not isinstance(size, int)]:
            raise Invalid(
                f"TensorRT builds engines for known sizes, and the input '{spec.name}' leaves '{unknown[0]}' open",
                do=f"say in provider options what it may be: {', '.join(SHAPES)}",
            )
        tail = "".join(f"x{size}" for size in rest)
        rows = (1, most_rows) if isinstance(first, str) else (first, first)
        shapes[spec.name] = (f"{rows[0]}{tail}", f"{rows[1]}{tail}")
    if not shapes:
        return {}
    least = ",".join(f"{name}:{low}" for name, (low, _) in shapes.items())
    most = ",".join(f"{name}:{high}" for name, (_, high) in shapes.items())
    return dict(zip(SHAPES, (least, most, most), strict=True))


def most_rows(max_batch_size: int, interface: Interface, samples: Sequence[GoldenSample]) -> int:
    """Rows of the largest run that is sure to come: a full batch, or a golden sample, which is run as a whole."""
    names = [spec.name for spec in interface.inputs if spec.shape and isinstance(spec.shape[0], str)]
    arrays = [sample.inputs[name] for sample in samples for name in names if name in sample.inputs]
    return max([max_batch_size, *(len(array) for array in arrays)])


def fixed(specs: Iterable[TensorSpec]) -> bool:
    """Whether no size is left open."""
    return all(isinstance(size, int) for spec in specs for size in spec.shape)


def wants_graphs(given: Mapping[str, str]) -> bool:
    """Whether the user asked for runs to be recorded as CUDA graphs."""
    return given.get(GRAPH, "0").lower() in ("1", "true")


def no_graph(interface: Interface) -> str:
    """Why runs of this model cannot be recorded as one CUDA graph; empty: nothing here speaks against it.

    A graph repeats launches with the addresses and sizes that they were recorded with.
    """
    tensors = (*interface.inputs, *interface.outputs)
    if not fixed(tensors):
        return "its inputs and outputs do not all have fixed sizes"
    if any(spec.optional for spec in interface.inputs):
        return "it has optional inputs"
    if not bindable(interface):
        return "it has texts or BF16 tensors"
    return ""


def bindable(interface: Interface) -> bool:
    """Whether every tensor can lie in the GPU's memory and be copied from numpy: no texts, no BF16."""
    tensors = (*interface.inputs, *interface.outputs)
    return not any(spec.element_type in ("BYTES", "BF16") for spec in tensors)
