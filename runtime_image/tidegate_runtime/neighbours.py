"""Does the answer to a row change with the rows beside it? Then requests must never share a run.

Graphs that reduce over the batch do that (batch norm in training mode, a softmax over axis 0), and so do those that
quantize dynamically: the scale comes from the largest number of the whole tensor, a neighbour's included.  It is
found out by running: rows alone, then the same rows together, one of them far off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tidegate.bundle.element_types import FLOATS
from tidegate.bundle.golden import GoldenSample, as_float, compare_outputs, tolerance_for
from tidegate.bundle.manifest import TensorSpec, Tolerance
from tidegate_runtime.interfaces import Array, Objection
from tidegate_runtime.trials import TrialFailed, Trials

if TYPE_CHECKING:
    from tidegate_runtime.session import OrtModel

FAR_OFF = -16  # times a row: what a neighbour may send, and enough to move a mean, a maximum or a scale
ROUNDED_OFF = 0.01  # of the row's largest number: three times what TF32 was seen to do, and less than int8's steps
BFLOAT_NEXT, BFLOAT_FAR_OFF = 0x4000, 0xC180  # 2 and -16 in the raw bits in which BF16 is held
Row = dict[str, Array]


def objection(model: OrtModel, row: Row, trials: Trials, rows: int) -> Objection | None:
    """Why `model` must not be given rows of several requests; `rows` of them, at least two, are tried together.

    Answers are compared within the golden samples' tolerance. Raises TrialFailed when `row` alone does not run.
    """
    alone = [(row, trials.run(row))]
    others = _others(model, row)
    while len(alone) < rows and (other := next(others, None)) is not None:
        with contextlib.suppress(TrialFailed):  # an index beyond the model's table says nothing
            alone.append((other, trials.run(other)))
    if len(alone) == 1:
        return Objection("NotProved", "no second row is known that the model can run: pack it with golden samples")
    order = [alone[index % len(alone)] for index in range(rows)]
    together = {name: np.concatenate([each[name] for each, _ in order]) for name in row}
    try:
        found = trials.run(together, len(order))
    except TrialFailed as error:
        return Objection("NotProved", f"rows that run alone do not run together: {error}")
    return _difference(model, [answers for _, answers in order], found)


def _difference(model: OrtModel, alone: list[list[Array]], together: list[Array]) -> Objection | None:
    for index, spec in enumerate(model.outputs):
        if {answers[index].shape for answers in alone} != {(1, *alone[0][index].shape[1:])}:
            return Objection("RowsDepend", f"output {spec.name!r} has not one row of one size for each row")
    for number, answers in enumerate(alone):
        expected = {spec.name: array for spec, array in zip(model.outputs, answers, strict=True)}
        actual = {spec.name: array[number : number + 1] for spec, array in zip(model.outputs, together, strict=True)}
        rules = [_rule(model, spec, expected[spec.name]) for spec in model.outputs]
        interface = model.bundle.manifest.interface
        for difference in compare_outputs(GoldenSample({}, expected), actual, interface, rules, model.device):
            if not difference.ok:
                sentence = (
                    f"output {difference.output!r} of a row changes with the rows beside it: {difference.message}"
                )
                return Objection("RowsDepend", sentence)
    return None


def _rule(model: OrtModel, spec: TensorSpec, row: Array) -> Tolerance:
    """The golden samples' tolerance, and on a GPU a share of the row's largest number.

    For another number of rows a GPU takes other kernels, and what TF32 rounds off differs in proportion to the terms
    of a sum and not to the sum, which may be near zero.
    """
    golden = model.bundle.manifest.golden
    rule = tolerance_for(spec, golden.tolerance if golden else (), model.device)
    if model.device == "cpu" or spec.element_type not in FLOATS:
        return rule
    numbers = np.abs(as_float(row, spec))
    largest = float(np.max(numbers, initial=0.0, where=np.isfinite(numbers)))
    return replace(rule, atol=max(rule.atol, ROUNDED_OFF * largest))


def _others(model: OrtModel, row: Row) -> Iterator[Row]:
    """Rows that are not `row`, of the same shape: one far off, and a golden sample's, else made-up ones."""
    specs = {spec.name: spec for spec in model.inputs}
    known = next((each for each in _golden_rows(model, row) if not _same(each, row)), None)
    made_up = [{name: change(specs[name], array) for name, array in row.items()} for change in (_next, _nothing)]
    far_off = {name: _far_off(specs[name], array) for name, array in row.items()}
    candidates = [far_off, *([known] if known is not None else made_up)]
    yield from (each for each in candidates if not _same(each, row))


def _golden_rows(model: OrtModel, like: Row) -> Iterator[Row]:
    for sample in model.samples:
        for index in range(min(len(sample.inputs[name]) for name in like)):
            row = {name: sample.inputs[name][index : index + 1] for name in like}
            if all(row[name].shape == like[name].shape for name in like):
                yield row


def _same(one: Row, other: Row) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def _next(spec: TensorSpec, array: Array) -> Array:
    """Other values of the same type, near by: an index one further on is most often one, too."""
    if spec.element_type == "BYTES":
        longer: Array = np.add(array, np.full(array.shape, "a", object))
        return longer
    if spec.element_type == "BOOL":
        return np.logical_not(array)
    return np.full_like(array, BFLOAT_NEXT) if spec.element_type == "BF16" else np.add(array, 1, dtype=array.dtype)


def _nothing(spec: TensorSpec, array: Array) -> Array:  # noqa: ARG001 - the form of every change
    return np.full(array.shape, "" if array.dtype == object else 0, array.dtype)


def _far_off(spec: TensorSpec, array: Array) -> Array:
    """Numbers with a fraction far off; indices and texts as they are, because the model may know no others."""
    if spec.element_type == "BF16":
        return np.full_like(array, BFLOAT_FAR_OFF)
    return np.multiply(array, FAR_OFF, dtype=array.dtype) if array.dtype.kind == "f" else array
