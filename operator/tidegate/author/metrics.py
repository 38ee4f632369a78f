"""How good a model is on labelled rows, computed from what ONNX Runtime answers, never from the original framework.

Classes: accuracy, precision, recall and F1 (means over the classes, or of the one of two that sorts last), ROC-AUC and
log-loss where there are scores, and the confusion matrix.  Numbers: MAE, MSE, RMSE, R².
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tidegate.author.scores import TWO, Confusion, classification, confusion, ranking, regression
from tidegate.author.session import Array, Runner, Tensors, rows_of, take
from tidegate.bundle.element_types import FLOATS
from tidegate.errors import Invalid

BATCH = 256
LABELS = ("INT64", "INT32", "BYTES")
TEXT = "OUS"  # numpy's kinds of texts
ONE_EACH = 3  # dimensions of scores: rows, the batch of one that each was, classes


def predictions(runner: Runner, rows: Tensors) -> dict[str, Array]:
    """Answers to all rows, a few hundred at a time."""
    if not runner.interface.batched:
        return runner.run_pool(rows)
    starts = range(0, rows_of(rows), BATCH)
    parts = [runner.run(take(rows, slice(start, start + BATCH))) for start in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def measure(answers: Tensors, labels: Array, kinds: Mapping[str, str], classes: Sequence[str] = ()) -> dict[str, float]:
    """The metrics of these answers; `kinds` gives the element type of each output.

    `classes`: the names of the classes that numbers in `labels` stand for, where they have some.  Raises Invalid when
    no output can be compared with the labels.
    """
    right = np.asarray(labels)
    if judged := judge(answers, right, kinds, classes):
        return judged.metrics()
    numbers = next((_numbers(answers[name], kind) for name, kind in kinds.items() if kind in FLOATS), None)
    if numbers is None or numbers.size != right.size or right.dtype.kind not in "iubf":
        raise Invalid(
            "no output can be compared with the labels",
            where="metrics",
            do="give one label per row: classes for a classifier, numbers for a regressor",
        )
    return regression(numbers.reshape(-1).astype(np.float64), right.reshape(-1).astype(np.float64))


def confusion_of(
    answers: Tensors, labels: Array, kinds: Mapping[str, str], classes: Sequence[str] = ()
) -> Confusion | None:
    """Which classes were taken for which; None where the labels are no classes.  Raises as `measure` does."""
    judged = judge(answers, np.asarray(labels), kinds, classes)
    return judged.confusion() if judged else None


@dataclass(frozen=True, slots=True)
class Judged:
    """A classifier's answers beside what is right: a class per row, and its scores with the class of each column."""

    found: Array
    right: Array
    scores: Array | None = None
    columns: Array | None = None

    def metrics(self) -> dict[str, float]:
        return {**classification(self.found, self.right), **self._ranking()}

    def confusion(self) -> Confusion:
        return confusion(self.found, self.right)

    def _ranking(self) -> dict[str, float]:
        if self.scores is None or self.columns is None:
            return {}
        codes = np.searchsorted(self.columns, self.right)
        inside = np.minimum(codes, len(self.columns) - 1)
        return ranking(self.scores, codes) if (self.columns[inside] == self.right).all() else {}


def judge(answers: Tensors, right: Array, kinds: Mapping[str, str], classes: Sequence[str] = ()) -> Judged | None:
    """The answers as those of a classifier; None where the labels are numbers to come near to.

    Raises Invalid for labels that are texts when no output says which text it means.
    """
    texts = right.dtype.kind in TEXT
    if not texts and (right.dtype.kind not in "iub" or right.size != len(right)):
        return None
    right = right.reshape(-1)
    scores, label = _scores(answers, right, kinds), _label(answers, kinds, len(right))
    if label is not None:
        right = _named(right, classes, label)
        found, right = _of_one_kind(label, right)
        return Judged(found, right, scores, _columns(scores, found, right))
    if texts:
        raise Invalid(
            "the labels are texts, but no output names a class",
            where="metrics",
            do="give the numbers of the classes as labels",
        )
    if scores is None:
        return None
    return Judged(scores.argmax(axis=1), right.astype(np.int64), scores, np.arange(scores.shape[1]))


def _numbers(array: Array, kind: str) -> Array:
    """BF16 comes as raw bits: the upper half of a float32."""
    return (array.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else array


def _label(answers: Tensors, kinds: Mapping[str, str], rows: int) -> Array | None:
    """The output that names a class for each row."""
    names = [name for name, kind in kinds.items() if kind in LABELS and answers[name].size == rows]
    return answers[names[0]].reshape(-1) if names else None


def _scores(answers: Tensors, right: Array, kinds: Mapping[str, str]) -> Array | None:
    """One score per class; of a single column of probabilities (a sigmoid) those of both its classes."""
    floats = [_row_by_row(_numbers(answers[name], kind)) for name, kind in kinds.items() if kind in FLOATS]
    for array in floats:
        if len(array.shape[1:]) == 1 and array.shape[1] > 1:
            return array
    for array in floats:
        two = array.size == len(right) and right.dtype.kind in "iub" and np.isin(right, (0, 1)).all()
        if two and ((array >= 0) & (array <= 1)).all():
            column = array.reshape(-1)
            return np.stack([1 - column, column], axis=1)
    return None


def _row_by_row(array: Array) -> Array:
    """Without the batch of one that a model without batches answers each row in."""
    return array[:, 0] if array.ndim == ONE_EACH and array.shape[1] == 1 else array


def _named(right: Array, classes: Sequence[str], label: Array) -> Array:
    """Numbers of named classes as what the model calls them: their names, or the numbers that are their names."""
    if not classes or right.dtype.kind in TEXT:
        return right
    if label.dtype.kind in TEXT:
        return np.array(classes, dtype=object)[right]
    return np.array([int(name) for name in classes])[right] if all(map(str.isdigit, classes)) else right


def _of_one_kind(found: Array, right: Array) -> tuple[Array, Array]:
    """Classes as whole numbers on both sides, or as texts."""
    if found.dtype.kind in TEXT or right.dtype.kind in TEXT:
        return found.astype(str), right.astype(str)
    return found.astype(np.int64), right.astype(np.int64)


def _columns(scores: Array | None, found: Array, right: Array) -> Array | None:
    """The class of each column, in rising order; None where it cannot be told, or the labels do not follow it."""
    if scores is None:
        return None
    names = np.unique(np.concatenate([found, right]))
    columns = scores.shape[1]
    if len(names) != columns:
        if names.dtype.kind in TEXT or names.min() < 0 or names.max() >= columns:
            return None
        names = np.arange(columns)
    follow = names[scores.argmax(axis=1)] == found
    return np.asarray(names) if TWO * follow.sum() > len(found) else None
