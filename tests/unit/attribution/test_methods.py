"""How answers are shared out: shares add up, are fair where occlusion is not, and cost what is said beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tidegate.attribution.methods import OCCLUSION, SHAPLEY, WAYS, evaluations, occlusion, shapley


def test_shapley_shares_add_up_to_the_answer_of_any_model() -> None:
    def value(takes_part: Any) -> Any:
        a, b, c = takes_part.T.astype(float)
        return np.stack([a * b + np.sin(3 * c * a), np.exp(b - c)], axis=1)

    found = shapley(value, 3, 3, 1)

    assert found.shares.sum(axis=0) == pytest.approx(found.answer - found.usual)
    assert found.unexplained < 1e-12


def test_parts_that_stand_in_for_each_other_share_alike() -> None:
    """Either is enough: occlusion sees nothing lost without one of them."""

    def either(takes_part: Any) -> Any:
        return takes_part.any(axis=1, keepdims=True).astype(float)

    assert occlusion(either, 2, 1, 0).shares.ravel().tolist() == [0, 0]
    assert shapley(either, 2, 1, 0).shares.ravel().tolist() == [0.5, 0.5]


def test_more_rounds_come_nearer_to_the_exact_shares() -> None:
    order = np.random.default_rng(3).standard_normal(256)

    def value(takes_part: Any) -> Any:
        return order[(takes_part * 2 ** np.arange(8)).sum(axis=1)][:, None]

    exact = shapley(value, 8, 4000, 9).shares
    few, many = (shapley(value, 8, rounds, 2) for rounds in (5, 500))

    assert np.abs(many.shares - exact).max() < np.abs(few.shares - exact).max() / 3
    assert (np.abs(many.shares - exact) < 5 * many.error + 1e-3).all()


@pytest.mark.parametrize("method", [OCCLUSION, SHAPLEY])
@pytest.mark.parametrize("players", [0, 1, 2, 7])
def test_the_model_is_asked_about_as_many_rows_as_were_foretold(method: str, players: int) -> None:
    asked = []

    def value(takes_part: Any) -> Any:
        asked.append(len(takes_part))
        return takes_part.sum(axis=1, keepdims=True).astype(float)

    WAYS[method](value, players, 3, 0)

    assert sum(asked) == evaluations(method, players, 3)


def test_one_part_alone_has_all_of_the_difference_however_many_rounds_are_wished_for() -> None:
    """Nothing is asked in a round of one part, so that no limit would end a hundred thousand of them."""
    worth = np.array([[0.1, 1 / 3]])

    found = shapley(lambda takes_part: takes_part * worth, 1, 100_000, 0)

    assert (found.shares == worth).all()  # to the last bit: a sum of so many is not
    assert not found.error.any()
