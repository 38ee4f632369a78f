"""Made-up inputs within what the given data shows."""

from __future__ import annotations

import numpy as np
import pytest

from tidegate.author.pool import Hints, PoolMaker, hints_from_columns
from tidegate.bundle.manifest import Interface, TensorSpec


def _made_up(column: list[float]) -> np.ndarray:
    """Inputs for a column like this one beside one from 10 to 20."""
    rows = np.array([column, np.linspace(10, 20, len(column))], np.float32).T
    interface = Interface(
        inputs=(TensorSpec(name="x", element_type="FP32", shape=("batch", 2)),),
        outputs=(TensorSpec(name="y", element_type="FP32", shape=("batch", 1)),),
    )
    made = PoolMaker(interface, Hints(hints_from_columns({"x": rows})), 0).inputs(100, 2)["x"]
    assert ((made[:, 1] >= 10) & (made[:, 1] <= 20)).all()
    return made[:, 0]


@pytest.mark.parametrize("gap", [np.nan, np.inf, -np.inf])
def test_a_column_with_gaps_has_the_range_of_its_other_values(gap: float) -> None:
    made = _made_up([3.0, gap, 4.0, gap, 5.0])

    assert ((made >= 3) & (made <= 5)).all()


def test_a_column_of_gaps_alone_is_filled_all_the_same() -> None:
    assert np.isfinite(_made_up([np.nan] * 5)).all()
