"""The formulas of metrics, on plain arrays: each gives what scikit-learn gives (tests ask it).

numpy only: who packs a model of another framework need not have scikit-learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.author.session import Array

TWO = 2  # classes: one of them is the positive one, the last


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often rows of each class (first index) were taken for each class (second)."""

    classes: tuple[Any, ...]
    counts: Array  # int64 of [classes, classes]

    def document(self) -> dict[str, Any]:
        return {"classes": list(self.classes), "counts": self.counts.tolist()}


def confusion(found: Array, right: Array) -> Confusion:
    """Of all classes that occur on either side, in their order; both arrays hold one class per row."""
    names, codes = np.unique(np.concatenate([right, found]), return_inverse=True)
    truth, taken = codes[: len(right)], codes[len(right) :]
    counts = np.bincount(truth * len(names) + taken, minlength=len(names) ** 2)
    return Confusion(tuple(names.tolist()), counts.reshape(len(names), len(names)))


def classification(found: Array, right: Array) -> dict[str, float]:
    """Accuracy, and precision, recall and F1 (macro, or of the positive class of two)."""
    counts = confusion(found, right).counts
    hits, taken, there = counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)
    judged = slice(1, None) if len(counts) == TWO else slice(None)
    precision, recall = hits / np.maximum(taken, 1), hits / np.maximum(there, 1)
    f1 = 2 * hits / np.maximum(taken + there, 1)
    metrics = {"accuracy": float(hits.sum() / counts.sum())}
    rows = (("precision", precision), ("recall", recall), ("f1", f1))
    return metrics | {name: float(values[judged].mean()) for name, values in rows}


def ranking(scores: Array, codes: Array) -> dict[str, float]:
    """ROC-AUC, and the log-loss where each row of `scores` is probabilities; `codes` are the columns that are right.

    Of more than two classes the AUC is the mean of each against the rest; it is left out unless every class occurs.
    """
    metrics = {}
    columns = scores.shape[1]
    if len(np.unique(codes)) == columns:
        judged = range(1, TWO) if columns == TWO else range(columns)
        metrics["roc_auc"] = float(np.mean([auc(scores[:, column], codes == column) for column in judged]))
    if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        smallest = np.finfo(scores.dtype).eps  # of the type that the model answers in: 0 there is not -inf
        clipped = np.clip(scores, smallest, 1 - smallest)[np.arange(len(codes)), codes]
        metrics["log_loss"] = float(-np.log(clipped.astype(np.float64)).mean())
    return metrics


def auc(scores: Array, positive: Array) -> float:
    """How often a positive row scores above a negative one; a tie counts half."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    many, few = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - many * (many + 1) / 2) / (many * few))


def regression(found: Array, right: Array) -> dict[str, float]:
    """Mean absolute and squared error, its root, and the share of the variance that is explained."""
    wrong = found - right
    squares = wrong**2
    spread = float(((right - right.mean()) ** 2).sum())
    return {
        "mae": float(np.abs(wrong).mean()),
        "mse": float(squares.mean()),
        "rmse": math.sqrt(float(squares.mean())),
        "r2": 1 - float(squares.sum()) / spread if spread else 0.0,
    }
