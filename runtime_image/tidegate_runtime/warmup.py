"""The first runs of a model, before anybody waits for them: does it end, what does a batch cost, may rows be mixed.

Every model is run under a deadline here, so that an endless loop or a wish for 2^45 floats is refused before it is
ready.  The costs decide what runs inline on the loop and whether batching is worth it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tidegate.bundle.element_types import ELEMENT_TYPES, FLOATS
from tidegate.bundle.errors import ModelInvalid
from tidegate.bundle.golden import GoldenSample, compare, tolerance_for
from tidegate.bundle.manifest import TensorSpec
from tidegate_runtime.interfaces import Array, Lane
from tidegate_runtime.ort_errors import sentence
from tidegate_runtime.settings import Settings

if TYPE_CHECKING:
    from tidegate_runtime.session import OrtModel

ALLOWANCE = {"cpu": 0.0, "cuda": 60.0, "tensorrt": 900.0}  # seconds more for the first run: kernels, engines
BUDGET = 0.15  # seconds for measuring: a small model is ready 0.7 s after its process started
ROUNDS = 5
NO_GAIN = 0.95  # of the cost of a row, when the rows are doubled: larger batches need not be measured
OUT_OF_MEMORY = ("Failed to allocate", "bad_alloc", "bad allocation", "out of memory")


class RunFailed(Exception):
    """One run of the warm-up did not give an answer; the text is a sentence."""


def warm_up(model: OrtModel, settings: Settings, lane: Lane) -> None:
    """Run, measure, and enter `costs`, `batchable` and `row_bytes` into the model; raises ModelInvalid."""
    feeds, sure = first_feeds(model)
    allowed = settings.request_timeout + ALLOWANCE[settings.device]
    try:
        first = _timed(model, feeds, lane, allowed)
    except RunFailed as error:
        if sure or _is_hopeless(error):
            raise ModelInvalid(f"the first run failed: {error}", where=model.bundle.manifest.model.file) from None
        return  # sizes of named dimensions were guessed: the model may only run with others
    row = _one_row(model, feeds)
    if row is None:
        best = _timed(model, feeds, lane, settings.request_timeout) if first < BUDGET else first
        model.costs = ((1, min(first, best)),)
        return
    model.row_bytes = sum(array.nbytes for array in row.values())
    model.costs = tuple(_costs(model, row, settings, lane))
    model.batchable = len(model.costs) > 0 and _rows_are_independent(model, row, lane, settings.request_timeout)
    _give_memory_back(lane, settings.device)
    with contextlib.suppress(RunFailed):  # it ran before: a busy machine is no reason to refuse it
        _timed(model, row, lane, settings.request_timeout)


def _give_memory_back(lane: Lane, device: str) -> None:
    """Every further run on this lane (golden samples too) leaves the arena small: batches made it 30 MB larger."""
    arenas = "cpu:0" if device == "cpu" else "cpu:0;gpu:0"
    lane.options.add_run_config_entry("memory.enable_memory_arena_shrinkage", arenas)


def first_feeds(model: OrtModel) -> tuple[dict[str, Array], bool]:
    """Inputs to begin with: the first golden sample, else made up; and whether they must work."""
    if model.samples:
        return dict(model.samples[0].inputs), True
    needed = [spec for spec in model.inputs if not spec.optional]
    sure = all(isinstance(size, int) for spec in needed for size in spec.shape[1:])
    return {spec.name: made_up(spec) for spec in needed}, sure


def made_up(spec: TensorSpec) -> Array:
    """A tensor of the right type; named dimensions are 1, floats differ from row to row, indices are 0."""
    shape = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
    if spec.element_type == "BYTES":
        return np.full(shape, "", dtype=object)
    dtype = np.dtype(ELEMENT_TYPES[spec.element_type].numpy)
    if spec.element_type in FLOATS and dtype.kind == "f":
        return np.random.default_rng(0).standard_normal(shape).astype(dtype)
    return np.zeros(shape, dtype)


def _is_hopeless(error: RunFailed) -> bool:
    return "did not end" in str(error) or any(word in str(error) for word in OUT_OF_MEMORY)


def _run(model: OrtModel, feeds: dict[str, Array], lane: Lane, allowed: float) -> list[Array]:
    lane.begin(time.monotonic() + allowed)
    try:
        outputs = model.run(feeds, lane)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's own errors share no base class
        late = lane.end()
        path = model.bundle.path / model.bundle.manifest.model.file
        raise RunFailed(f"it did not end within {allowed:g} s" if late else sentence(error, path)) from None
    lane.end()
    return outputs


def _timed(model: OrtModel, feeds: dict[str, Array], lane: Lane, allowed: float) -> float:
    begin = time.perf_counter()
    _run(model, feeds, lane, allowed)
    return time.perf_counter() - begin


def _one_row(model: OrtModel, feeds: Mapping[str, Array]) -> dict[str, Array] | None:
    """The first row of every input, when the first dimension of all tensors is one and the same named one."""
    specs = [spec for spec in (*model.inputs, *model.outputs) if not spec.optional]
    firsts = {spec.shape[0] if spec.shape else None for spec in specs}
    if len(firsts) != 1 or not isinstance(next(iter(firsts)), str) or not feeds:
        return None
    rows = {name: array[:1] for name, array in feeds.items()}
    return rows if all(len(array) == 1 for array in rows.values()) else None


def _costs(model: OrtModel, row: dict[str, Array], settings: Settings, lane: Lane) -> Iterator[tuple[int, float]]:
    """Seconds of a run by rows, doubling the rows until the largest batch or the end of the budget."""
    until = time.perf_counter() + BUDGET
    size, per_row = 1, math.inf
    while size <= settings.max_batch_size:
        feeds = {name: np.repeat(array, size, axis=0) for name, array in row.items()}
        try:
            times = [_timed(model, feeds, lane, settings.request_timeout)]
            while len(times) < ROUNDS and time.perf_counter() + times[-1] < until:
                times.append(_timed(model, feeds, lane, settings.request_timeout))
        except RunFailed:
            return  # more rows than the graph can do
        seconds = min(times)
        yield size, seconds
        if seconds / size > NO_GAIN * per_row or time.perf_counter() + 2 * seconds > until:
            return  # a larger batch gains nothing, or takes too long to measure
        size, per_row = 2 * size, seconds / size


def _rows_are_independent(model: OrtModel, row: dict[str, Array], lane: Lane, allowed: float) -> bool:
    """Two different rows run together give what each gives alone: only then may requests share a run."""
    other = _another_row(model, row)
    together = {name: np.concatenate([array, other[name]]) for name, array in row.items()}
    try:
        both = _run(model, together, lane, allowed)
        alone = [_run(model, feeds, lane, allowed) for feeds in (row, other)]
    except RunFailed:
        return False
    rules = model.bundle.manifest.golden.tolerance if model.bundle.manifest.golden else ()
    for index, spec in enumerate(model.outputs):
        rule = tolerance_for(spec, rules, model.device)
        expected = np.concatenate([outputs[index] for outputs in alone])
        if not compare(spec, expected, both[index], rule).ok:
            return False
    return True


def _another_row(model: OrtModel, row: dict[str, Array]) -> dict[str, Array]:
    """A row of the golden samples that is not `row`, of the same shape; else `row` with its numbers doubled."""
    for candidate in _rows(model.samples):
        fits = candidate.keys() == row.keys() and all(candidate[name].shape == row[name].shape for name in row)
        if fits and any(not np.array_equal(candidate[name], row[name]) for name in row):
            return candidate
    return {name: np.add(array, array) if array.dtype.kind == "f" else array for name, array in row.items()}


def _rows(samples: tuple[GoldenSample, ...]) -> Iterator[dict[str, Array]]:
    for sample in samples:
        for index in range(min((len(array) for array in sample.inputs.values()), default=0)):
            yield {name: array[index : index + 1] for name, array in sample.inputs.items()}
