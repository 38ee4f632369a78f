"""Golden samples: inputs and the outputs they must give, and how far off an answer may be.

A sample is an npz of plain numpy arrays.  Its keys are `input:NAME` and `output:NAME`; a BYTES tensor is two arrays,
`input-text:NAME` (uint8, all strings end to end) and `input-ends:NAME` (int64 in the tensor's shape: where each string
ends); BF16 is raw uint16.  In memory strings are object arrays of `str`, as ONNX Runtime takes and gives them.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.bundle.element_types import ELEMENT_TYPES, FLOATS
from tidegate.bundle.errors import GoldenInvalid, GoldenMismatch, TooLarge
from tidegate.bundle.manifest import MAX_GOLDEN, BundleDir, Interface, TensorSpec, Tolerance

MAX_GOLDEN_BYTES = 16 * 2**20  # of all samples together, uncompressed
MAX_ARRAYS = 1024

# |a-b| <= atol + rtol*|b|, by element type and device; everything that is no float must be equal.
DEFAULTS: Mapping[tuple[str, str], tuple[float, float]] = {
    ("FP32", ""): (1e-4, 1e-3),
    ("FP32", "cuda"): (1e-3, 1e-2),
    ("FP32", "tensorrt"): (1e-3, 1e-2),
    ("FP64", ""): (1e-4, 1e-3),
    ("FP16", ""): (1e-2, 1e-2),
    ("BF16", ""): (1e-2, 1e-2),
}

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class GoldenSample:
    """One request and its answer, by tensor name."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Difference:
    """How one output of one sample compared: `excess` is the worst |a-b| / (atol + rtol*|b|), over 1 is a mismatch."""

    output: str
    worst: float  # the worst |a-b|
    excess: float
    mismatched: int  # elements
    total: int
    message: str = ""  # why it is a mismatch; empty: it is none

    @property
    def ok(self) -> bool:
        return not self.message


def write_sample(sample: GoldenSample, path: Path) -> None:
    """Write one sample; the same sample gives the same bytes."""
    arrays: dict[str, Array] = {}
    for side, tensors in (("input", sample.inputs), ("output", sample.outputs)):
        for name in sorted(tensors):
            arrays |= _stored(side, name, np.asarray(tensors[name]))
    with path.open("xb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_samples(bundle: BundleDir) -> list[GoldenSample]:
    """All golden samples of a bundle, checked against its limits and its interface."""
    golden = bundle.manifest.golden
    files = golden.files if golden else ()
    return read_sample_files([bundle.path / name for name in files], bundle.manifest.interface)


def read_sample_files(paths: Sequence[Path], interface: Interface) -> list[GoldenSample]:
    """The samples in these files; their zip headers are added up before anything is read."""
    if len(paths) > MAX_GOLDEN:
        raise TooLarge(f"{len(paths)} golden samples, more than the {MAX_GOLDEN} allowed", where="golden")
    room = MAX_GOLDEN_BYTES
    samples = []
    for path in paths:
        sample, used = _read_sample(path, room)
        room -= used
        samples.append(_checked(sample, interface, path))
    return samples


def tolerance_for(output: TensorSpec, tolerances: Iterable[Tolerance], device: str = "cpu") -> Tolerance:
    """The manifest's row for this output and device, else its row for every device, else the default."""
    rows = [row for row in tolerances if row.output == output.name]
    for wanted in (device, ""):
        for row in rows:
            if row.device == wanted:
                return row
    kind = output.element_type
    atol, rtol = DEFAULTS.get((kind, device), DEFAULTS.get((kind, ""), (0.0, 0.0)))
    return Tolerance(output.name, atol, rtol, device)


def compare_outputs(
    sample: GoldenSample,
    actual: Mapping[str, Array],
    interface: Interface,
    tolerances: Iterable[Tolerance] = (),
    device: str = "cpu",
) -> list[Difference]:
    """Compare what a model gave with what the sample promises, output by output."""
    rows = tuple(tolerances)
    specs = {spec.name: spec for spec in interface.outputs}
    found = []
    for name, expected in sample.outputs.items():
        rule = tolerance_for(specs[name], rows, device)
        if name not in actual:
            found.append(Difference(name, math.inf, math.inf, expected.size, expected.size, "the output is missing"))
            continue
        ignored = _ties(rule, sample, specs, rows, device) if rule.label_of else None
        found.append(compare(specs[name], expected, np.asarray(actual[name]), rule, ignored=ignored))
    return found


def require_match(sample_name: str, differences: Iterable[Difference]) -> None:
    """Raise GoldenMismatch for the first output that differs."""
    for difference in differences:
        if not difference.ok:
            raise GoldenMismatch(
                f"output '{difference.output}': {difference.message}",
                where=sample_name,
                do="the weights, the graph or this device compute something else than what was packed",
            )


def compare(
    spec: TensorSpec, expected: Array, actual: Array, rule: Tolerance, *, ignored: Array | None = None
) -> Difference:
    """Compare one tensor; `ignored` marks elements that may differ (labels of tied scores)."""
    total = expected.size
    if expected.shape != actual.shape:
        message = f"shape {list(actual.shape)}, expected {list(expected.shape)}"
        return Difference(spec.name, math.inf, math.inf, total, total, message)
    if spec.element_type not in FLOATS:
        return _compare_exact(spec, expected, actual, rule, ignored)
    return _compare_floats(spec, as_float(expected, spec), as_float(actual, spec), rule)


def as_float(array: Array, spec: TensorSpec) -> npt.NDArray[np.float64]:
    """As doubles; BF16 comes as raw uint16."""
    if spec.element_type == "BF16" and array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float64)


def _compare_floats(
    spec: TensorSpec, expected: npt.NDArray[np.float64], actual: npt.NDArray[np.float64], rule: Tolerance
) -> Difference:
    with np.errstate(invalid="ignore", divide="ignore"):
        same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
        distance = np.where(same, 0.0, np.abs(actual - expected))
        distance = np.where(np.isnan(distance), np.inf, distance)
        allowed = rule.atol + rule.rtol * np.abs(expected)
        allowed = np.where(np.isfinite(allowed), allowed, 0.0)
        excess = np.where(distance == 0, 0.0, distance / np.where(allowed > 0, allowed, np.finfo(np.float64).tiny))
    wrong = distance > allowed
    message = _first_wrong(expected, actual, wrong, rule)
    if message and rule.top1 and _has_classes(expected):
        # Within the tolerance this cannot happen: a lead of more than twice the tolerance survives it.
        moved = (expected.argmax(-1) != actual.argmax(-1)) & (_lead(expected) > 2 * allowed.max(-1))
        message += f"; another class leads in {int(moved.sum())} of {moved.size} rows"
    worst = float(distance.max(initial=0.0))
    return Difference(spec.name, worst, float(excess.max(initial=0.0)), int(wrong.sum()), expected.size, message)


def _compare_exact(
    spec: TensorSpec, expected: Array, actual: Array, rule: Tolerance, ignored: Array | None
) -> Difference:
    distance = np.where(expected == actual, 0.0, 1.0)
    if spec.element_type not in ("BYTES", "BOOL"):
        distance = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    allowed = np.zeros(expected.shape)
    if spec.element_type not in ("BYTES", "BOOL"):
        allowed = rule.atol + rule.rtol * np.abs(expected.astype(np.float64))
    wrong = distance > allowed
    if ignored is not None and ignored.size == wrong.size:
        wrong &= ~ignored.reshape(wrong.shape)
    message = _first_wrong(expected, actual, wrong, rule)
    excess = math.inf if message else 0.0
    return Difference(spec.name, float(distance.max(initial=0.0)), excess, int(wrong.sum()), expected.size, message)


def _first_wrong(expected: Array, actual: Array, wrong: npt.NDArray[np.bool_], rule: Tolerance) -> str:
    if not wrong.any():
        return ""
    index = np.unravel_index(int(wrong.argmax()), wrong.shape) if wrong.ndim else ()
    place = [int(i) for i in index]
    return (
        f"{int(wrong.sum())} of {wrong.size} elements differ, first at {place}: "
        f"{str(actual[index])[:40]}, expected {str(expected[index])[:40]} (atol {rule.atol:g}, rtol {rule.rtol:g})"
    )


def _has_classes(scores: Array) -> bool:
    return scores.ndim > 0 and scores.shape[-1] > 1


def _lead(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """By how much the largest along the last axis is ahead of the next."""
    top = np.partition(scores, -2, axis=-1)
    lead: npt.NDArray[np.float64] = top[..., -1] - top[..., -2]
    return lead


def _ties(
    rule: Tolerance,
    sample: GoldenSample,
    specs: Mapping[str, TensorSpec],
    rows: tuple[Tolerance, ...],
    device: str,
) -> Array | None:
    """Which labels may differ: those whose scores lead by no more than twice the tolerance."""
    spec, scores = specs.get(rule.label_of), sample.outputs.get(rule.label_of)
    if spec is None or scores is None or spec.element_type not in FLOATS or not _has_classes(scores):
        return None
    values = as_float(scores, spec)
    near = tolerance_for(spec, rows, device)
    tied: Array = _lead(values) <= 2 * (near.atol + near.rtol * np.abs(values)).max(-1)
    return tied


def _stored(side: str, name: str, array: Array) -> dict[str, Array]:
    if array.dtype.kind not in "OUS":
        return {f"{side}:{name}": np.asarray(array, order="C")}  # keeps scalars, unlike ascontiguousarray
    texts = [item.encode() if isinstance(item, str) else bytes(item) for item in array.reshape(-1).tolist()]
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64) if texts else np.zeros(0, np.int64)
    text = np.frombuffer(b"".join(texts), dtype=np.uint8)
    return {f"{side}-text:{name}": text, f"{side}-ends:{name}": ends.reshape(array.shape)}


def _read_sample(path: Path, room: int) -> tuple[GoldenSample, int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file, zipfile.ZipFile(file) as archive:
            used = _size_by_headers(archive, room, path)
            arrays = {entry.filename.removesuffix(".npy"): _read_array(archive, entry) for entry in archive.infolist()}
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, NotImplementedError, RuntimeError, EOFError) as error:
        raise GoldenInvalid(f"not a golden sample: {str(error)[:200]}", where=str(path)) from None
    return GoldenSample(_side("input", arrays, path), _side("output", arrays, path)), used


def _size_by_headers(archive: zipfile.ZipFile, room: int, path: Path) -> int:
    entries = archive.infolist()
    used = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ARRAYS or used > room:
        raise TooLarge(
            f"the golden samples unpack to more than {MAX_GOLDEN_BYTES} bytes or {MAX_ARRAYS} arrays", where=str(path)
        )
    return used


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    with archive.open(entry) as stream:
        content = stream.read(entry.file_size + 1)
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if dtype.kind not in "biuf" or dtype.fields is not None:
        raise ValueError(f"{entry.filename} holds {dtype}, not plain numbers")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"{entry.filename} does not hold what its header says")
    array = np.frombuffer(content, dtype=dtype, offset=file.tell())
    return array.reshape(shape, order="F" if fortran else "C")


def _side(side: str, arrays: Mapping[str, Array], path: Path) -> dict[str, Array]:
    tensors = {key[len(side) + 1 :]: array for key, array in arrays.items() if key.startswith(f"{side}:")}
    for key, ends in arrays.items():
        if key.startswith(f"{side}-ends:"):
            name = key[len(side) + 6 :]
            tensors[name] = _strings(arrays.get(f"{side}-text:{name}"), ends, path)
    return tensors


def _strings(text: Array | None, ends: Array, path: Path) -> Array:
    stops = ends.reshape(-1)
    if text is None or text.dtype != np.uint8 or stops.dtype != np.int64:
        raise GoldenInvalid("a text tensor without its bytes or ends", where=str(path))
    starts = np.concatenate([np.zeros(1, np.int64), stops[:-1]]) if stops.size else stops
    if stops.size and (stops[-1] > text.size or (stops < starts).any()):
        raise GoldenInvalid("a text tensor whose ends do not rise", where=str(path))
    raw = text.tobytes()
    strings = np.empty(stops.size, dtype=object)
    try:
        strings[:] = [raw[start:stop].decode() for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
    except UnicodeDecodeError:
        raise GoldenInvalid("a text tensor that is not UTF-8", where=str(path)) from None
    return strings.reshape(ends.shape)


def _checked(sample: GoldenSample, interface: Interface, path: Path) -> GoldenSample:
    _check_side("input", sample.inputs, interface.inputs, path)
    _check_side("output", sample.outputs, interface.outputs, path)
    return sample


def _check_side(side: str, tensors: Mapping[str, Array], specs: Sequence[TensorSpec], path: Path) -> None:
    known = {spec.name: spec for spec in specs}
    missing = [spec.name for spec in specs if not spec.optional and spec.name not in tensors]
    if missing and (side == "input" or len(missing) == len(specs)):
        raise GoldenInvalid(f"the {side} '{missing[0]}' is not in the sample", where=str(path))
    for name, array in tensors.items():
        if name not in known:
            raise GoldenInvalid(f"the {side} '{name[:80]}' is not one of the model's", where=str(path))
        wanted = ELEMENT_TYPES[known[name].element_type].numpy
        if array.dtype != np.dtype(wanted):
            raise GoldenInvalid(f"the {side} '{name}' is {array.dtype}, expected {wanted}", where=str(path))
        if not fits(array.shape, known[name].shape):
            shape = f"{list(array.shape)}, expected {list(known[name].shape)}"
            raise GoldenInvalid(f"the {side} '{name}' has the shape {shape}", where=str(path))


def fits(shape: Sequence[int], wanted: Sequence[int | str]) -> bool:
    """Whether a tensor of this shape is one of the interface's; names stand for any size."""
    return len(shape) == len(wanted) and all(
        isinstance(size, str) or size == here for here, size in zip(shape, wanted, strict=True)
    )
