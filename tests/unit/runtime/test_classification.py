"""Which values of an output are the highest, for every kind of number and shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tidegate.bundle.manifest import TensorSpec
from tidegate_runtime.classification import highest
from tidegate_runtime.errors import BadRequest


def texts(shape: tuple[int | str, ...], values: Any, count: int, *labels: str) -> Any:
    return highest(TensorSpec("y", "FP32", shape), np.asarray(values), count, labels).tolist()


def test_rows_are_classified_one_by_one() -> None:
    assert texts(("N", 3), np.array([[1, 3, 2], [0.1, 0, -5]], np.float32), 2) == [
        ["3.0:1", "2.0:2"],
        ["0.1:0", "0.0:1"],
    ]


def test_an_output_without_rows_is_classified_as_a_whole() -> None:
    assert texts((2, 2), np.array([[1, 5], [10, 4]], np.int64), 2) == ["10:2", "5:1"]
    assert texts((), np.array(2.5, np.float64), 3) == ["2.5:0"]


def test_among_equals_the_lower_index_comes_first_and_nan_last() -> None:
    assert texts((4,), np.array([7, np.nan, 7, 9], np.float32), 4) == ["9.0:3", "7.0:0", "7.0:2", "nan:1"]


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8, np.uint64])
def test_the_ends_of_the_whole_numbers_are_in_order(dtype: type) -> None:
    limits = np.iinfo(dtype)
    assert texts((3,), np.array([limits.min, limits.max, 1], dtype), 3) == [f"{limits.max}:1", "1:2", f"{limits.min}:0"]


def test_what_is_empty_has_no_classes() -> None:
    assert texts(("N", 3), np.zeros((0, 3), np.float32), 2) == []
    assert texts((0,), np.zeros(0, np.float32), 2) == []


def test_labels_are_used_when_every_class_has_one() -> None:
    assert texts((2,), np.array([1, 2], np.float32), 1, "a", "b:c", "spare") == ["2.0:1:b:c"]
    assert texts((2,), np.array([1, 2], np.float32), 1, "a") == ["2.0:1"]


def test_more_texts_than_an_answer_may_have_are_refused_before_they_are_made() -> None:
    assert len(texts(("N", 1000), np.zeros((65, 1000), np.float32), 1000)) == 65
    with pytest.raises(BadRequest, match="66 rows of 1000 classes are more than 65536 texts: ask for fewer"):
        texts(("N", 1000), np.zeros((66, 1000), np.float32), 2000)
