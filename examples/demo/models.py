"""The models of the demo, trained on scikit-learn's handwritten digits: small and weak, better, and large and slow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

Array = npt.NDArray[Any]
SEED = 7
FEW = 150  # rows that the first version was trained on
COPIES = 6  # of each training digit, with noise, in the slow ensemble
MEMBERS = 8


@dataclass(frozen=True, slots=True)
class Digits:
    """Images of 8 by 8 pixels as rows of 64; the held-out ones are never trained on, and are what clients send."""

    train: Array
    train_labels: Array
    heldout: Array
    heldout_labels: Array


def digits() -> Digits:
    """The data, split the same way each time."""
    images, labels = load_digits(return_X_y=True)
    train, heldout, train_labels, heldout_labels = train_test_split(
        images.astype(np.float32), labels, test_size=0.4, random_state=SEED, stratify=labels
    )
    return Digits(train, train_labels, heldout, heldout_labels)


def train_v1(data: Digits) -> Any:
    """A first try: a small network on few digits."""
    network = MLPClassifier(hidden_layer_sizes=(32,), max_iter=400, tol=1e-3, random_state=SEED)
    return network.fit(data.train[:FEW], data.train_labels[:FEW])


def train_v2(data: Digits) -> Any:
    """All digits and a larger network: really better."""
    network = MLPClassifier(hidden_layer_sizes=(128, 64), max_iter=200, tol=1e-3, random_state=SEED)
    return network.fit(data.train, data.train_labels)


def train_v4(data: Digits) -> Any:
    """Correct, but slow by what it computes: an ensemble that compares each digit with tens of thousands of others."""
    random = np.random.default_rng(SEED)
    rows = np.repeat(data.train, COPIES, axis=0)
    noisy = np.clip(rows + random.normal(0, 0.7, rows.shape), 0, 16).astype(np.float32)
    ensemble = BaggingClassifier(KNeighborsClassifier(3), n_estimators=MEMBERS, random_state=SEED)
    return ensemble.fit(noisy, np.repeat(data.train_labels, COPIES))


def save(estimator: Any, path: Path) -> float:
    """Write an estimator as a user would."""
    joblib.dump(estimator, path)
    return path.stat().st_size / 2**20
