"""From a bundle directory to a model that can be run: load, check the graph against the manifest, prove the device.

The manifest is the contract with clients, so the graph must keep to it exactly.  Whatever is wrong with a model comes
out as one sentence: garbage, missing weights, an endless loop, or a wish for more memory than exists.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.bundle.element_types import ELEMENT_TYPES
from tidegate.bundle.errors import ModelInvalid
from tidegate.bundle.golden import GoldenSample, read_samples
from tidegate.bundle.manifest import BundleDir, TensorSpec, read_bundle_dir
from tidegate.bundle.paths import read_plain_file
from tidegate.bundle.verify import check_listing
from tidegate_runtime import devices, warmup
from tidegate_runtime.errors import DeviceLost
from tidegate_runtime.gpu.faults import fault, not_loaded
from tidegate_runtime.gpu.steady import Steady
from tidegate_runtime.interfaces import Array, Lane, Objection
from tidegate_runtime.ort import onnxruntime
from tidegate_runtime.ort_errors import sentence
from tidegate_runtime.runners import Run, runner
from tidegate_runtime.settings import Settings

if TYPE_CHECKING:
    from tidegate_runtime.gpu.nvml import Gpu
    from tidegate_runtime.gpu.placement import Placement

LOAD_SECONDS = 600.0
LEAST_FOLDED = 64 * 2**20
LABELS = "labels.txt"
MOST_LABELS = 16 * 2**20
ORT_TYPES = {
    "float": "FP32",
    "double": "FP64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "string": "BYTES",
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What the warm-up found, for processes that serve the same model beside this one: all decide alike."""

    costs: tuple[tuple[int, float], ...]
    objection: Objection | None
    most_together: int
    row_bytes: int


class OrtModel:
    """A model in ONNX Runtime; see `interfaces.LoadedModel`."""

    __slots__ = (
        "_names",
        "_run",
        "bundle",
        "costs",
        "device",
        "digest",
        "gpu",
        "inputs",
        "labels",
        "most_together",
        "name",
        "objection",
        "outputs",
        "revision",
        "row_bytes",
        "samples",
        "version",
        "work",
        "worst",
    )

    def __init__(self, bundle: BundleDir, settings: Settings, run: Run, samples: Sequence[GoldenSample]) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.name = settings.name or manifest.name
        self.version = manifest.version
        self.revision = settings.revision or manifest.version
        self.digest = bundle.digest
        self.device = settings.device
        self.gpu: Gpu | None = None  # where the model runs, if a GPU is told by its driver
        self.work: dict[str, int] = {}  # on a GPU: operators that each execution provider ran in the proof
        self.inputs = manifest.interface.inputs
        self.outputs = manifest.interface.outputs
        self.labels = _labels(bundle)
        self.samples = tuple(samples)
        self.costs: tuple[tuple[int, float], ...] = ()
        self.objection: Objection | None = Objection("NotProved", "no rows were run together before it was ready")
        self.most_together = settings.max_batch_size
        self.row_bytes = 0  # input bytes of one row in the warm-up; 0: not measured
        self.worst: dict[str, float] = {}  # per output, the worst difference from the golden samples
        self._names = [spec.name for spec in self.outputs]
        self._run = run

    @property
    def batchable(self) -> bool:
        return self.objection is None

    @property
    def measured(self) -> Measured:
        return Measured(self.costs, self.objection, self.most_together, self.row_bytes)

    @measured.setter
    def measured(self, found: Measured) -> None:
        self.costs, self.objection = found.costs, found.objection
        self.most_together, self.row_bytes = found.most_together, found.row_bytes

    def keep_rows(self, rows: int) -> None:
        """From now on every run has so many rows, and requests share runs of at most so many."""
        self._run = Steady(self._run, rows)
        self.most_together = rows

    def run(self, feeds: dict[str, Array], lane: Lane) -> list[Array]:
        """All outputs in the order of `outputs`, under `lane.options`.

        Raises DeviceFull and DeviceLost for what a GPU fails in, else whatever ONNX Runtime raises.
        """
        try:
            return self._run(self._names, feeds, lane.options)
        except Exception as error:
            found = fault(error) if self.device != "cpu" else None
            if found is None:
                raise
            lane.lost = lane.lost or isinstance(found, DeviceLost)
            raise found from error


def load(settings: Settings, lane: Lane, known: Measured | None = None) -> OrtModel:
    """Load, prove residency, warm up (what is `known` is not measured); raises TidegateError with one sentence."""
    bundle = read_bundle_dir(settings.bundle)
    check_listing(bundle)  # sizes and names; the digests were checked when it was fetched
    samples = read_samples(bundle)
    if settings.device != "cpu":
        return _load_on_gpu(bundle, samples, settings, lane)  # each process measures: no two GPUs need be alike
    sessions = [_open(bundle, settings) for _ in range(settings.sessions)]
    require_interface(bundle, sessions[0])
    model = OrtModel(bundle, settings, runner(sessions, bundle), samples)
    warmup.warm_up(model, settings, lane, known)
    return model


def _load_on_gpu(bundle: BundleDir, samples: Sequence[GoldenSample], settings: Settings, lane: Lane) -> OrtModel:
    from tidegate_runtime.gpu.placement import Placement

    with tempfile.TemporaryDirectory(prefix="tidegate-profile-") as folder:
        placement = Placement(bundle, samples, settings, Path(folder))
        while True:
            try:
                model = _place(bundle, samples, settings, lane, placement)
            except ModelInvalid as error:
                if not placement.give_up_something(str(error)):
                    raise
            else:
                model.gpu, model.work = placement.gpu, placement.work
                return model


def _place(
    bundle: BundleDir, samples: Sequence[GoldenSample], settings: Settings, lane: Lane, placement: Placement
) -> OrtModel:
    sessions = [_open(bundle, settings, placement) for _ in range(settings.sessions)]
    require_interface(bundle, sessions[0])
    model = OrtModel(bundle, settings, placement.runner(sessions), samples)
    placement.prove(warmup.first_feeds(model)[0], lane, warmup.first_allowance(settings))
    warmup.warm_up(model, settings, lane, sessions=[runner([each], bundle) for each in sessions])
    if placement.work:  # else nothing has run: the sizes of its inputs were guessed
        placement.keep()
    return model


def _labels(bundle: BundleDir) -> tuple[str, ...]:
    """The lines of labels.txt; none when it is not there or no text."""
    if bundle.manifest.entry(LABELS) is None:
        return ()
    content = read_plain_file(bundle.path / LABELS, limit=MOST_LABELS)
    try:
        return tuple(content.decode("utf-8").splitlines())
    except UnicodeDecodeError:
        return ()


def _open(bundle: BundleDir, settings: Settings, placement: Placement | None = None) -> Any:
    path = bundle.path / bundle.manifest.model.file
    options = _options(bundle, settings)
    if placement is not None:
        placement.prepare(options)
    providers = placement.providers() if placement is not None else [devices.CPU]
    late = threading.Timer(LOAD_SECONDS, options.set_load_cancellation_flag, (True,))
    late.daemon = True
    late.start()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's own errors share no base class
        canceled = type(error).__name__ == "ModelLoadCanceled"
        what = f"it did not load within {LOAD_SECONDS:g} s" if canceled else sentence(error, path)
        if placement is not None and (other := not_loaded(error, what)) is not None:
            raise other from None
        raise ModelInvalid(f"ONNX Runtime cannot load it: {what}", where=path.name) from None
    finally:
        late.cancel()
    if placement is not None:
        placement.opened(session)
    return session


def _options(bundle: BundleDir, settings: Settings) -> Any:
    options = onnxruntime.SessionOptions()
    # Constants are computed once, at load: a model of 1 KB that makes 100 GB of them must not. Weights may be unpacked.
    most = max(LEAST_FOLDED, 4 * bundle.manifest.total_bytes)
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(most))
    options.log_severity_level = 4  # errors come back as exceptions, with their own words
    options.intra_op_num_threads = settings.intra_op or 1
    options.inter_op_num_threads = settings.inter_op or 1
    if settings.inter_op > 1:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    return options


def require_interface(bundle: BundleDir, session: Any) -> None:
    """The graph's inputs and outputs are those of the manifest: names, element types, ranks and fixed sizes."""
    interface, where = bundle.manifest.interface, bundle.manifest.model.file
    needed = {node.name: node for node in session.get_inputs()}
    extra = {node.name: node for node in session.get_overridable_initializers()}
    given = {node.name: node for node in session.get_outputs()}
    for spec in interface.inputs:
        _require_same("input", spec, needed.get(spec.name) or extra.get(spec.name), where)
    for spec in interface.outputs:
        node = given.get(spec.name)
        if node is not None and node.type.startswith("optional("):
            raise ModelInvalid(
                f"the output '{spec.name}' may be absent, and no answer may leave one out: give it a plain tensor",
                where=where,
            )
        _require_same("output", spec, node, where)
    listed = {spec.name for spec in interface.inputs}
    for name, node in needed.items():
        if name not in listed and not node.type.startswith("optional("):
            raise ModelInvalid(
                f"the graph needs the input '{name[:80]}', which the manifest does not list", where=where
            )


def _require_same(side: str, spec: TensorSpec, node: Any, where: str) -> None:
    if node is None:
        raise ModelInvalid(f"the manifest lists the {side} '{spec.name}', which the graph does not have", where=where)
    found = element_type(node.type)
    if found != spec.element_type:
        raise ModelInvalid(f"the {side} '{spec.name}' is {found}, the manifest says {spec.element_type}", where=where)
    shape = node.shape
    same = len(shape) == len(spec.shape) and all(
        not isinstance(here, int) or here < 0 or here == size for here, size in zip(shape, spec.shape, strict=True)
    )
    if not same:
        wanted = list(spec.shape)
        raise ModelInvalid(f"the {side} '{spec.name}' is {shape}, the manifest says {wanted}", where=where)


def element_type(ort_type: str) -> str:
    """ "tensor(float)" to "FP32"; what the protocol cannot carry keeps ONNX Runtime's name."""
    inner = re.fullmatch(r"(?:optional\()?tensor\((\w+)\)\)?", ort_type)
    name = ORT_TYPES.get(inner[1], "") if inner else ""
    return name if name in ELEMENT_TYPES else ort_type
