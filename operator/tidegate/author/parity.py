"""Whether the converted model still says what the original said, at batch sizes the converter never saw.

Conversions go wrong silently: other shapes, rows on the far side of a threshold, a class order turned round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.author.estimator import Original
from tidegate.author.session import Array, Runner, Tensors, rows_of, take
from tidegate.errors import Failed

ATOL, RTOL = 1e-4, 1e-3
REFUSED = 0.01  # share of rows that may tip over by rounding to 32 bits; more is a wrong conversion
SIZES = (1, 3)


class ParityLost(Failed):
    """The converted model answers something else than the original."""

    reason = "ParityLost"


@dataclass(frozen=True, slots=True)
class Parity:
    """How the two compare: rows that differ, and by how much the rest do at most."""

    rows: int
    mismatched: int
    worst: float

    def document(self, framework: str) -> dict[str, Any]:
        return {
            "against": framework,
            "rows": self.rows,
            "mismatchedRows": self.mismatched,
            "worstDifference": f"{self.worst:.3g}",
            "batchSizes": [*SIZES, self.rows],
        }


def compare_with(original: Original, runner: Runner, rows: Tensors) -> Parity:
    """Compare on these rows, in batches of one, three and all; raises ParityLost when it is another model."""
    total = rows_of(rows)
    expected = original.answers(rows)
    found = runner.run(rows)
    for size in SIZES:
        part = runner.run(take(rows, slice(0, size)))
        for name, array in part.items():
            if array.shape[1:] != found[name].shape[1:] or len(array) != min(size, total):
                raise ParityLost(f"output '{name}' has the shape {array.shape} for {size} rows", where="parity")
    wrong, worst = _compare(expected, found, runner)
    parity = Parity(total, int(wrong.sum()), worst)
    if parity.mismatched > REFUSED * total:
        raise ParityLost(
            f"{parity.mismatched} of {total} rows differ from what the estimator itself answers",
            where="parity",
            do="the conversion is wrong for this estimator: report it, or export the model to ONNX yourself",
        )
    return parity


def _compare(expected: tuple[Array, Array | None], found: Mapping[str, Array], runner: Runner) -> tuple[Array, float]:
    """Per row whether it differs, and the worst difference of the numbers in rows that do not."""
    predicted, scores = expected
    first, *rest = [found[output.name] for output in runner.interface.outputs]
    if predicted.dtype.kind == "f" and scores is None:
        wrong, distance = _numbers(predicted, first)
    else:
        wrong, distance = _classes(predicted, first), np.zeros(len(predicted))
    if scores is not None and rest and rest[0].size == scores.size:
        wrong_scores, distance = _numbers(scores, rest[0])
        wrong = (wrong & ~_level(scores)) | wrong_scores
    return wrong, float(distance[~wrong].max(initial=0.0))


def _level(scores: Array) -> Array:
    """Rows without a clear winner: rounding alone decides there."""
    if scores.shape[1:] <= (1,):
        return np.zeros(len(scores), dtype=bool)
    top = np.partition(scores, -2, axis=-1)
    level = top[..., -1] - top[..., -2] <= 2 * (ATOL + RTOL * top[..., -1])
    return np.asarray(level.reshape(len(scores), -1).all(axis=1))


def _classes(expected: Array, found: Array) -> Array:
    if expected.shape != found.shape and expected.size != found.size:
        raise ParityLost(f"the classes have the shape {found.shape}, expected {expected.shape}", where="parity")
    if expected.dtype.kind in "bf":
        expected = expected.astype(np.int64)  # as ONNX knows classes: whole numbers or texts
    same = found.reshape(-1).astype(str) == expected.reshape(-1).astype(str)
    return np.asarray((~same).reshape(len(expected), -1).any(axis=1))


def _numbers(expected: Array, found: Array) -> tuple[Array, Array]:
    columns = expected.reshape(len(expected), -1)
    if len(found) != len(expected) or found.size != expected.size:
        raise ParityLost(f"the output has the shape {found.shape}, expected {expected.shape}", where="parity")
    distance = np.abs(found.reshape(columns.shape).astype(np.float64) - columns)
    wrong = ~(distance <= ATOL + RTOL * np.abs(columns))
    return np.asarray(wrong.any(axis=1)), np.asarray(distance.max(axis=1, initial=0.0))
