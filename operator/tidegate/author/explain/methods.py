"""How answers are shared out among players: three ways, from quick to thorough.

Occlusion asks once per player what is lost without it; players that stand in for each other then both look idle.
Shapley's values are fair to those: the mean of what a player adds over all orders of coming in.  Orders are drawn in
pairs, each with its reverse (antithetic), which halves the error for the same number of runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.author.extras import need
from tidegate.author.session import Array

Value = Callable[[Array], Array]  # who takes part [n, players] -> answers [n, values]
OCCLUSION, SHAPLEY, SHAP = METHODS = ("occlusion", "shapley", "shap")
KERNEL_SAMPLES = 2048  # and two per player


@dataclass(frozen=True, slots=True)
class Shares:
    """[players, values]: what each adds to each value of the answer, and the standard error of that (0: none known).

    `answer` and `usual` [values] are with everybody and with nobody.
    """

    shares: Array
    error: Array
    answer: Array
    usual: Array

    @property
    def unexplained(self) -> float:
        """The largest part of an answer that the shares do not add up to."""
        return float(np.abs(self.shares.sum(axis=0) - (self.answer - self.usual)).max(initial=0.0))


def share_out(method: str, value: Value, players: int, rounds: int, seed: int) -> Shares:
    """By one of METHODS; `rounds` are the pairs of orders that Shapley's values are estimated from."""
    return WAYS[method](value, players, rounds, seed)


def _occlusion(value: Value, players: int, rounds: int, seed: int) -> Shares:  # noqa: ARG001 - all are called alike
    everybody = np.ones((1, players), dtype=bool)
    answers = value(np.concatenate([everybody, ~np.eye(players, dtype=bool), ~everybody]))
    shares = answers[0] - answers[1:-1]
    return Shares(shares, np.zeros_like(shares), answers[0], answers[-1])


def _shapley(value: Value, players: int, rounds: int, seed: int) -> Shares:
    random = np.random.default_rng(seed)
    ends = value(np.stack([np.zeros(players, dtype=bool), np.ones(players, dtype=bool)]))
    total, squares = np.zeros((2, players, ends.shape[1]))
    for _ in range(rounds):
        order = random.permutation(players)
        pair = (_added(value, order, ends) + _added(value, order[::-1], ends)) / 2
        total, squares = total + pair, squares + pair**2
    mean = total / rounds
    spread = np.maximum(squares / rounds - mean**2, 0.0) / max(rounds - 1, 1)
    return Shares(mean, np.sqrt(spread), ends[1], ends[0])


def _added(value: Value, order: Array, ends: Array) -> Array:
    """What each player adds when they come in in this order."""
    coming = np.tri(len(order) - 1, len(order), dtype=bool)  # row k: the first k+1 of the order
    takes_part = np.zeros_like(coming)
    takes_part[:, order] = coming
    between = value(takes_part) if len(order) > 1 else ends[:0]
    answers = np.concatenate([ends[:1], between, ends[1:]])
    added = np.empty((len(order), answers.shape[1]))
    added[order] = np.diff(answers, axis=0)
    return added


def _shap(value: Value, players: int, rounds: int, seed: int) -> Shares:  # noqa: ARG001
    """KernelExplainer of the package `shap`, asked who takes part instead of what the values are."""
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


WAYS: dict[str, Callable[[Value, int, int, int], Shares]] = {
    OCCLUSION: _occlusion,
    SHAPLEY: _shapley,
    SHAP: _shap,
}
