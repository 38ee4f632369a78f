"""How good a model is on labelled rows, computed from what ONNX Runtime answers, never from the original framework.

Classes: accuracy; precision, recall and F1 as means over the classes (macro), or of the positive class when there
are two (the one that sorts last).  Numbers: MAE, RMSE, R².
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tidegate.author.session import Array, Runner, Tensors, batched, rows_of, take
from tidegate.bundle.element_types import FLOATS
from tidegate.errors import Invalid

BATCH = 256
TWO = 2  # classes: one of them is the positive one


def predictions(runner: Runner, rows: Tensors) -> dict[str, Array]:
    """Answers to all rows, a few hundred at a time."""
    if not batched(runner.interface):
        return runner.run_pool(rows)
    starts = range(0, rows_of(rows), BATCH)
    parts = [runner.run(take(rows, slice(start, start + BATCH))) for start in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def measure(answers: Tensors, labels: Array, kinds: Mapping[str, str]) -> dict[str, float]:
    """The metrics of these answers; `kinds` gives the element type of each output."""
    right = np.asarray(labels)
    if right.dtype.kind in "OUS" or (right.dtype.kind in "iub" and _class_output(answers, kinds)):
        return classification(_predicted_classes(answers, kinds), right)
    numbers = next((answers[name] for name, kind in kinds.items() if kind in FLOATS), None)
    if numbers is None or numbers.size != right.size:
        raise Invalid(
            "no output can be compared with the labels",
            where="metrics",
            do="give one label per row: classes for a classifier, numbers for a regressor",
        )
    return regression(numbers.reshape(-1).astype(np.float64), right.reshape(-1).astype(np.float64))


def _class_output(answers: Tensors, kinds: Mapping[str, str]) -> str:
    """The output that names the class, or the scores whose largest one does."""
    for name, kind in kinds.items():
        if kind in ("INT64", "INT32", "BYTES"):
            return name
    for name, array in answers.items():
        if len(array.shape[1:]) == 1 and array.shape[1] > 1:
            return name
    return ""


def _predicted_classes(answers: Tensors, kinds: Mapping[str, str]) -> Array:
    name = _class_output(answers, kinds)
    if not name:
        raise Invalid("the labels are classes, but no output names a class", where="metrics")
    found = answers[name]
    if kinds[name] in FLOATS:
        found = found.argmax(axis=1)
    return found.reshape(-1)


def classification(found: Array, right: Array) -> dict[str, float]:
    """Accuracy, and precision, recall and F1 (macro, or of the positive class of two)."""
    if (found.dtype.kind == "O") != (right.dtype.kind in "OUS"):
        found, right = found.astype(str), right.astype(str)
    classes = sorted(set(right.reshape(-1).tolist()) | set(found.tolist()))
    judged = classes[1:] if len(classes) == TWO else classes
    rows = [_of_class(found == name, right.reshape(-1) == name) for name in judged]
    precision, recall, f1 = (float(np.mean(column)) for column in zip(*rows, strict=True))
    accuracy = float(np.mean(found == right.reshape(-1)))
    return {"accuracy": accuracy, "precision": precision, "recall": recall, "f1": f1}


def _of_class(found: Array, right: Array) -> tuple[float, float, float]:
    hits = int((found & right).sum())
    precision = hits / max(int(found.sum()), 1)
    recall = hits / max(int(right.sum()), 1)
    return precision, recall, 2 * precision * recall / (precision + recall) if hits else 0.0


def regression(found: Array, right: Array) -> dict[str, float]:
    """Mean absolute error, root of the mean squared error, share of the variance explained."""
    wrong = found - right
    spread = float(((right - right.mean()) ** 2).sum())
    return {
        "mae": float(np.abs(wrong).mean()),
        "rmse": math.sqrt(float((wrong**2).mean())),
        "r2": 1 - float((wrong**2).sum()) / spread if spread else 0.0,
    }
