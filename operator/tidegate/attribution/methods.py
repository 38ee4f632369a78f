"""How answers are shared out among players: two ways, a quick one and a fair one.

Occlusion asks once per player what is lost without it; players that stand in for each other then both look idle.
Shapley's values are fair to those: the mean of what a player adds over all orders of coming in.  Orders are drawn in
pairs, each with its reverse (antithetic), which halves the error for the same number of runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tidegate.attribution.players import Array

Value = Callable[[Array], Array]  # who takes part [n, players] -> answers [n, values]
OCCLUSION, SHAPLEY = "occlusion", "shapley"


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


Way = Callable[[Value, int, int, int], Shares]  # of so many players, by so many pairs of orders, drawn from a seed


def evaluations(method: str, players: int, rounds: int) -> int:
    """How many rows the model is asked about to explain one, beside the first look at its answer."""
    return players + 2 if method == OCCLUSION else 2 + 2 * rounds * max(players - 1, 0)


def occlusion(value: Value, players: int, rounds: int, seed: int) -> Shares:  # noqa: ARG001 - all are called alike
    """What is lost without each player alone."""
    everybody = np.ones((1, players), dtype=bool)
    answers = value(np.concatenate([everybody, ~np.eye(players, dtype=bool), ~everybody]))
    shares = answers[0] - answers[1:-1]
    return Shares(shares, np.zeros_like(shares), answers[0], answers[-1])


def shapley(value: Value, players: int, rounds: int, seed: int) -> Shares:
    """What each player adds, over `rounds` orders of coming in and their reverses."""
    rounds = rounds if players > 1 else 1  # there is one order: its share is exact, and more rounds ask nothing
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


WAYS: dict[str, Way] = {OCCLUSION: occlusion, SHAPLEY: shapley}
