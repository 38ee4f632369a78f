"""A LightGBM booster as an estimator: its files hold no estimator, only trees and an objective."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidegate.author.session import Array


class LightGbmRegressor:
    """Gives one number per row."""

    def __init__(self, booster: Any) -> None:
        self.booster_ = booster
        self.n_features_in_ = booster.num_feature()

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """None that could be set: the trees are what they are."""
        del deep
        return {}

    def predict(self, rows: Array) -> Array:
        """One number per row."""
        return np.asarray(self.booster_.predict(rows))


class LightGbmClassifier(LightGbmRegressor):
    """Gives classes, numbered from 0, and their probabilities."""

    def __init__(self, booster: Any, classes: int) -> None:
        super().__init__(booster)
        self.classes_ = np.arange(classes)

    def predict_proba(self, rows: Array) -> Array:
        """A column per class."""
        given = np.asarray(self.booster_.predict(rows))
        return np.stack([1 - given, given], axis=1) if given.ndim == 1 else given

    def predict(self, rows: Array) -> Array:
        """The class of the highest probability."""
        return np.asarray(self.predict_proba(rows).argmax(axis=1))


def estimator_of(booster: Any) -> LightGbmRegressor:
    """The estimator that the booster's objective makes of it."""
    model = booster.dump_model(num_iteration=1)
    if model.get("objective", "").startswith(("binary", "multiclass")):
        return LightGbmClassifier(booster, max(2, model["num_class"]))
    return LightGbmRegressor(booster)
