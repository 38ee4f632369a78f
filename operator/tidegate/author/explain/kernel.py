"""The way of the package `shap`: its KernelExplainer, asked who takes part instead of what the values are."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidegate.attribution.methods import WAYS, Shares, Value, Way
from tidegate.author.extras import need

SHAP = "shap"
KERNEL_SAMPLES = 2048  # and two per player


def way_of(method: str) -> Way:
    """How answers are shared out by this method."""
    return kernel if method == SHAP else WAYS[method]


def kernel(value: Value, players: int, rounds: int, seed: int) -> Shares:  # noqa: ARG001
    """What shap's KernelExplainer gives each player."""
    shap: Any = need("shap", extra="shap")
    nobody, everybody = np.zeros((1, players)), np.ones((1, players))
    np.random.seed(seed % 2**32)
    explainer = shap.KernelExplainer(lambda takes_part: value(np.asarray(takes_part) > 0), nobody)
    samples = 2 * players + KERNEL_SAMPLES
    # l1_reg: without it no more than ten players get a share
    found = np.asarray(explainer.shap_values(everybody, nsamples=samples, l1_reg=False, silent=True))
    shares = found.reshape(players, -1)
    ends = value(np.concatenate([nobody, everybody]) > 0)
    return Shares(shares, np.zeros_like(shares), ends[1], ends[0])
