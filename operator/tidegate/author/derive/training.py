"""Fitting a small head with scikit-learn: which kinds there are, what labels they take, which rows are held out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tidegate.author.extras import need
from tidegate.author.request import DataSet
from tidegate.author.session import Array
from tidegate.errors import Failed, Invalid, UsageError

LOGISTIC, RIDGE, MLP = KINDS = ("logistic", "ridge", "mlp")
HELD_OUT = 0.2  # of the rows
FEWEST = 10  # rows to train anything on


class TrainingFailed(Failed):
    """scikit-learn could not fit the head to these rows."""

    reason = "TrainingFailed"


def fitted(kind: str, features: Array, labels: Array, seed: int) -> Any:
    """A head of this kind behind a scaler, fitted to `features` [rows, width]."""
    need("sklearn", extra="sklearn")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    estimator = make_pipeline(StandardScaler(), HEADS[kind](labels, seed))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "did not converge": the held-out rows tell what that is worth
            return estimator.fit(features, labels)
    except ValueError as error:
        raise TrainingFailed(
            f"scikit-learn cannot fit a {kind} head: {' '.join(str(error).split())[:200]}",
            where="--head",
            do="look at the labels and the features",
        ) from None


def _logistic(labels: Array, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    if not are_classes(labels):
        raise UsageError("these labels are no classes", where="--head logistic", do="say --head ridge or --head mlp")
    return LogisticRegression(max_iter=2000, random_state=seed)


def _ridge(labels: Array, seed: int) -> Any:
    from sklearn.linear_model import Ridge

    if labels.dtype.kind not in "iuf":
        raise UsageError("these labels are no numbers", where="--head ridge", do="say --head logistic or --head mlp")
    return Ridge(random_state=seed)


def _mlp(labels: Array, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    kind = MLPClassifier if are_classes(labels) else MLPRegressor
    return kind(hidden_layer_sizes=(64,), max_iter=500, random_state=seed)


HEADS: dict[str, Callable[[Array, int], Any]] = {LOGISTIC: _logistic, RIDGE: _ridge, MLP: _mlp}


def are_classes(labels: Array) -> bool:
    """Texts and whole numbers are classes, numbers with a fraction are not."""
    return labels.dtype.kind in "OUSiub"


def labels_of(data: DataSet | None) -> Array:
    """What is right for each row; refused when there is none or too little of it."""
    if data is None or data.labels is None:
        raise UsageError(
            "a head is trained on rows and what is right for each",
            where="--head",
            do="give both: --data FILE --labels NAME",
        )
    labels = np.asarray(data.labels)
    if len(labels) < FEWEST:
        raise Invalid(f"{len(labels)} rows are too few to train on", where=data.name, do=f"give {FEWEST} or more")
    return labels


def held_out(kind: str, labels: Array, seed: int) -> tuple[Array, Array]:
    """Numbers of the rows to train on and to measure on, with every class in both where there are enough of each."""
    need("sklearn", extra="sklearn")
    from sklearn.model_selection import train_test_split

    counts = np.unique(labels, return_counts=True)[1]
    classes = kind != RIDGE and are_classes(labels)
    alike = classes and counts.min() > 1 and len(counts) <= int(HELD_OUT * len(labels))
    rows = np.arange(len(labels))
    training, kept = train_test_split(rows, test_size=HELD_OUT, random_state=seed, stratify=labels if alike else None)
    return np.sort(training), np.sort(kept)
