"""What stands for a part that is taken away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tidegate.attribution.game import usual_row
from tidegate.bundle.manifest import TensorSpec


def test_a_column_that_is_missing_everywhere_stays_so() -> None:
    rows = {"x": np.array([[np.nan, 1], [np.nan, 3]], np.float32)}

    usual = usual_row(rows, {"x": TensorSpec("x", "FP32", ("batch", 2))}, "mean")

    np.testing.assert_array_equal(usual["x"], np.array([np.nan, 2], np.float32))


def most_frequent(values: Any) -> Any:
    """Column by column, as a plain reading of the rule gives it: the least of those that occur most."""
    columns = values.reshape(len(values), -1).T.tolist()
    found = [max(sorted(set(column)), key=column.count) for column in columns]
    return np.array(found, dtype=values.dtype).reshape(values.shape[1:])


@pytest.mark.parametrize(
    ("dtype", "element_type"), [(np.int64, "INT64"), (np.uint8, "UINT8"), (bool, "BOOL"), (object, "BYTES")]
)
@pytest.mark.parametrize("shape", [(1, 4), (7,), (9, 3), (12, 2, 5)])
def test_of_what_has_no_mean_the_most_frequent_value_stands_for_it(
    dtype: Any, element_type: str, shape: tuple[int, ...]
) -> None:
    drawn = np.random.default_rng(4).integers(0, 3, shape)
    values = drawn.astype(str).astype(object) if dtype is object else drawn.astype(dtype)

    usual = usual_row({"x": values}, {"x": TensorSpec("x", element_type, ("N", *shape[1:]))}, "mean")["x"]

    assert usual.dtype == values.dtype
    assert usual.shape == shape[1:]
    assert usual.tolist() == most_frequent(values).tolist()
