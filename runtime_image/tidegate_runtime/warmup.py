"""The first runs of a model, before anybody waits for them: does it end, what does a batch cost, may rows be mixed.

Every model is run under a deadline here, so that an endless loop or a wish for 2^45 floats is refused before it is
ready.  The costs decide what runs inline on the loop and whether batching is worth it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tidegate.bundle.element_types import ELEMENT_TYPES, FLOATS
from tidegate.bundle.errors import ModelInvalid
from tidegate.bundle.manifest import TensorSpec
from tidegate_runtime import neighbours
from tidegate_runtime.gpu.faults import before_requests
from tidegate_runtime.gpu.steady import steady_rows
from tidegate_runtime.interfaces import Array, Lane, Objection
from tidegate_runtime.logs import log
from tidegate_runtime.runners import Run
from tidegate_runtime.settings import Settings
from tidegate_runtime.trials import TrialFailed, Trials

if TYPE_CHECKING:
    from tidegate_runtime.session import Measured, OrtModel

ALLOWANCE = {"cpu": 0.0, "cuda": 60.0, "tensorrt": 900.0}  # seconds more for the first run: kernels, engines
# Seconds for measuring: a small model is ready 0.7 s after its process started. A GPU's first runs prepare kernels.
BUDGET = {"cpu": 0.15, "cuda": 1.0, "tensorrt": 1.0}
ROUNDS = 5
CHANGES = 2  # of the number of rows, timed
NO_GAIN = 0.95  # of the cost of a row, when the rows are doubled: larger batches need not be measured
ENOUGH = 4  # rows to try together: three that differ, and the first once more
OUT_OF_MEMORY = ("Failed to allocate", "bad_alloc", "bad allocation", "out of memory")


def warm_up(
    model: OrtModel, settings: Settings, lane: Lane, known: Measured | None = None, sessions: Sequence[Run] = ()
) -> None:
    """Run, measure, and enter what was `measured`; with what is `known`, one run is all.

    `sessions`: on a GPU, calls of each session by itself.
    Raises ModelInvalid, and DeviceUnavailable where the GPU failed and not the model.
    """
    feeds, sure = first_feeds(model)
    first = Trials(model, lane, first_allowance(settings))
    try:
        first.run(feeds)
    except TrialFailed as error:
        if error.full is not None:
            raise before_requests(error.full) from None
        if sure or _is_hopeless(error):
            raise ModelInvalid(f"the first run failed: {error}", where=model.bundle.manifest.model.file) from None
        return  # sizes of named dimensions were guessed: the model may only run with others
    if known is not None:
        model.measured = known
        return
    trials = Trials(model, lane, settings.request_timeout)
    row = _one_row(model, feeds)
    if row is None:
        model.objection = Objection("NoRows", "its inputs and outputs have no first dimension that is the same for all")
        if first.best[1] < BUDGET[settings.device]:
            _run_again(first, feeds)
        model.costs = tuple(first.best.items())
        return
    model.row_bytes = sum(array.nbytes for array in row.values())
    model.most_together = _measure(trials, row, settings)
    costs, proof = trials.best, Trials(model, lane, settings.request_timeout)
    with contextlib.suppress(TrialFailed):  # the sample as a whole ran: only batching is lost
        model.objection = neighbours.objection(model, row, proof, _how_many(costs))
    if len(costs) == 1 and model.most_together > 1:
        costs = proof.best | costs  # too slow to be measured further: what the proof's two rows took is all there is
    model.costs = tuple(sorted(costs.items()))
    if sessions and model.objection is None and len(costs) > 1:
        _steady(model, _Alone(model, sessions, lane, settings.request_timeout), row)
    _give_memory_back(lane, settings.device)
    _run_again(trials, row)


class _Alone:
    """Runs of one session after the other, by no way that shares them out."""

    def __init__(self, model: OrtModel, sessions: Sequence[Run], lane: Lane, allowed: float) -> None:
        self._names = [spec.name for spec in model.outputs]
        self.sessions, self._lane, self._allowed = sessions, lane, allowed

    def seconds(self, run: Run, row: Mapping[str, Array], rows: int) -> float:
        """Of one run with `row` so many times; raises whatever ONNX Runtime raises."""
        feeds = {name: np.repeat(array, rows, axis=0) for name, array in row.items()}
        began = time.perf_counter()
        self._lane.begin(time.monotonic() + self._allowed)
        try:
            run(self._names, feeds, self._lane.options)
        finally:
            self._lane.end()
        return time.perf_counter() - began

    def change(self, row: Mapping[str, Array], rows: int) -> float:
        """Seconds more of a run of one row because the one before had more rows."""
        first = self.sessions[0]
        self.seconds(first, row, rows)
        return self.seconds(first, row, 1) - self.seconds(first, row, 1)


def _steady(model: OrtModel, alone: _Alone, row: Mapping[str, Array]) -> None:
    """Where another number of rows takes the device long to get used to, every run has as many from now on."""
    costs = dict(model.costs)
    try:
        change = min(alone.change(row, max(costs)) for _ in range(CHANGES))
        if not (rows := steady_rows(costs, change)):
            return
        for run in alone.sessions:
            alone.seconds(run, row, rows)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's own errors share no base class
        log("warning", "other numbers of rows were not tried", error=type(error).__name__)  # all of it ran before
        return
    model.keep_rows(rows)
    model.costs = tuple((size, costs[rows] * math.ceil(size / rows)) for size in sorted({1, rows, 2 * rows}))
    why = f"another number of them costs {change * 1e3:.0f} ms"
    log("info", "every run has the same number of rows", rows=rows, why=why)


def first_allowance(settings: Settings) -> float:
    """Seconds for a first run."""
    return settings.request_timeout + ALLOWANCE[settings.device]


def _how_many(costs: Mapping[int, float]) -> int:
    """Rows to try together: as many as will be, but two of a model that is slow, and may be as large as its memory."""
    largest = max(costs, default=1)
    return max(largest, ENOUGH) if largest > 1 else 2


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


def _is_hopeless(error: TrialFailed) -> bool:
    return "did not end" in str(error) or any(word in str(error) for word in OUT_OF_MEMORY)


def _run_again(trials: Trials, feeds: dict[str, Array]) -> None:
    with contextlib.suppress(TrialFailed):  # it ran before: a busy machine is no reason to refuse it
        trials.run(feeds)


def _one_row(model: OrtModel, feeds: Mapping[str, Array]) -> dict[str, Array] | None:
    """The first row of every required input, when these and all outputs begin with one and the same named dimension."""
    needed = [spec for spec in model.inputs if not spec.optional]
    firsts = {spec.shape[0] if spec.shape else None for spec in (*needed, *model.outputs)}
    if not needed or len(firsts) != 1 or not isinstance(next(iter(firsts)), str):
        return None
    row = {spec.name: feeds[spec.name][:1] for spec in needed}
    return row if all(len(array) == 1 for array in row.values()) else None


def _measure(trials: Trials, row: dict[str, Array], settings: Settings) -> int:
    """Run the row alone, twice, four times and so on, until the largest batch, no gain, or the end of the budget.

    How many rows may be run together: after a size that the graph cannot do, no more than the last one that it could.
    """
    until = time.perf_counter() + BUDGET[settings.device]
    size, per_row = 1, math.inf
    while size <= settings.max_batch_size:
        feeds = {name: np.repeat(array, size, axis=0) for name, array in row.items()}
        try:
            _measure_one(trials, feeds, size, until)
        except TrialFailed:
            trials.best.pop(size, None)  # not every run of it failed
            return max(1, size // 2)
        seconds = trials.best[size]
        if seconds / size > NO_GAIN * per_row or time.perf_counter() + 2 * seconds > until:
            break  # a larger batch gains nothing, or takes too long to measure
        size, per_row = 2 * size, seconds / size
    return settings.max_batch_size


def _measure_one(trials: Trials, feeds: dict[str, Array], rows: int, until: float) -> None:
    for _ in range(ROUNDS):
        trials.run(feeds, rows)
        if time.perf_counter() + trials.best[rows] > until:
            return
