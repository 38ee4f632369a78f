"""How good a variant is beside its parent, on the same rows: accuracy of classes, or R² of numbers, with intervals.

All intervals are of 95 %.  Accuracy: Wilson's.  Its drop: Agresti and Min's for paired proportions (2005), which stays
honest when hardly any row differs.  R² and its drop: a seeded bootstrap over the rows, the same rows for both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tidegate.author import metrics
from tidegate.author.session import Array, Tensors
from tidegate.bundle.element_types import FLOATS
from tidegate.errors import Failed, Invalid

Z = 1.959964
RESAMPLES = 2000
ACCURACY, R2 = "accuracy", "r2"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Judged:
    """A model's answers held against the labels: per row 1 or 0 (right or wrong), or the squared error."""

    metric: str
    scores: Array
    spread: Array  # of numbers: the squared distance of each label from the mean label

    def estimate(self) -> Estimate:
        if self.metric == ACCURACY:
            return _wilson(int(self.scores.sum()), len(self.scores))
        draws = _draws(len(self.scores))
        return _percentiles(self._r2(slice(None)), [self._r2(rows) for rows in draws])

    def drop_to(self, variant: Judged) -> Estimate:
        """How much worse the variant, judged by the same metric, is (less than nothing: it is better)."""
        if self.metric == ACCURACY:
            return _paired(self.scores, variant.scores)
        draws = _draws(len(self.scores))
        differences = [self._r2(rows) - variant._r2(rows) for rows in draws]
        return _percentiles(self._r2(slice(None)) - variant._r2(slice(None)), differences)

    def _r2(self, rows: Array | slice) -> float:
        return 1 - float(self.scores[rows].sum()) / max(float(self.spread[rows].sum()), 1e-300)


def judge(
    answers: Tensors, labels: Array, kinds: Mapping[str, str], names: Sequence[str] = (), metric: str = ""
) -> Judged:
    """A parent by what its answers are; a variant by the `metric` of its parent, for nothing else can be compared.

    `names`: what numbers in `labels` stand for.  Raises Invalid when no output can be compared with the labels, Failed
    for a variant whose answers are no classes where its parent's are.
    """
    classes = metrics.judge(answers, labels, kinds, names) if metric != R2 else None
    if classes is not None:
        return Judged(ACCURACY, (classes.found == classes.right).astype(np.float64), np.empty(0))
    if metric == ACCURACY:
        raise Failed(
            "some of its answers lie outside 0..1, its parent's are probabilities: they name no class any more",
            where="the variant",
            do="ask for less, or for another step; of a regressor, judge by labels that are not only 0 and 1",
            reason="AccuracyLost",
        )
    numbers = next((answers[name] for name, kind in kinds.items() if kind in FLOATS), None)
    if numbers is None or numbers.size != labels.size or labels.dtype.kind not in "iufb":
        raise Invalid(
            "there is nothing to judge by: no output can be compared with the labels",
            where="--labels",
            do="give one label per row: classes for a classifier, numbers for a regressor",
        )
    right = labels.reshape(len(labels), -1).astype(np.float64)
    wrong = numbers.reshape(right.shape).astype(np.float64) - right
    return Judged(R2, (wrong**2).sum(axis=1), ((right - right.mean(axis=0)) ** 2).sum(axis=1))


def _wilson(hits: int, rows: int) -> Estimate:
    share = hits / rows
    middle = (share + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
    half = Z * math.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2)) / (1 + Z**2 / rows)
    return Estimate(share, middle - half, middle + half)


def _paired(parent: Array, variant: Array) -> Estimate:
    rows = len(parent)
    lost = int(((parent == 1) & (variant == 0)).sum())
    won = int(((parent == 0) & (variant == 1)).sum())
    more = rows + 2
    middle = (lost - won) / more
    half = Z * math.sqrt(max(lost + won + 1 - (lost - won) ** 2 / more, 0)) / more
    return Estimate((lost - won) / rows, middle - half, middle + half)


def _draws(rows: int) -> Iterator[Array]:
    """Numbers of rows, one draw at a time: all at once would be gigabytes of a large data set."""
    random = np.random.default_rng(0)
    return (random.integers(0, rows, rows) for _ in range(RESAMPLES))


def _percentiles(value: float, drawn: list[float]) -> Estimate:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How near a variant's answers are to its parent's, without any label; `kinds` gives each output's type."""

    metric: str
    kinds: Mapping[str, str]

    def changed(self, parent: Tensors, variant: Tensors) -> float:
        """The share of rows of another class, all where the variant names none; of numbers, of their variance."""
        if self.metric != ACCURACY:
            return self.error(parent, variant)
        before, after = self._classes(parent), self._classes(variant)
        if before is None:
            raise Failed(
                "the answers to these rows name no class: some lie outside 0..1, those to the rows that judge do not",
                where="--calibration",
                do="give rows like those of --data",
                reason="NotOptimizable",
            )
        return 1.0 if after is None else float((before != after).mean())

    def error(self, parent: Tensors, variant: Tensors) -> float:
        """The squared distance of all numbers that come out, beside their variance."""
        names = [name for name, kind in self.kinds.items() if kind in FLOATS]
        if not names:
            return self.changed(parent, variant)
        lost = sum(float(((variant[name] - parent[name]).astype(np.float64) ** 2).sum()) for name in names)
        spread = sum(float(parent[name].astype(np.float64).var() * parent[name].size) for name in names)
        return lost / max(spread, 1e-300)

    def _classes(self, answers: Tensors) -> Array | None:
        rows = len(next(iter(answers.values())))
        judged = metrics.judge(answers, np.zeros(rows, dtype=np.int64), self.kinds)
        return judged.found if judged else None
