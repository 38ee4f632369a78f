"""The rows that judge and the rows that are learnt from: apart, and fitting the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tidegate.author import DataSet
from tidegate.author.optimize.rows import divide
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.errors import Invalid

PLAIN = Interface((TensorSpec("x", "FP32", ("batch", 4)),), (TensorSpec("y", "FP32", ("batch", 2)),))
ALONE = Interface((TensorSpec("x", "FP32", (1, 4)),), (TensorSpec("y", "FP32", (1, 2)),))


def _data(rows: int = 100, columns: int = 4, **fields: Any) -> DataSet:
    numbered = np.arange(rows, dtype=np.float32)[:, None].repeat(columns, axis=1)
    return DataSet("rows.npz", {"X": numbered}, fields.get("labels", np.arange(rows) % 2))


def test_a_part_is_set_aside_and_never_judges() -> None:
    divided = divide(_data(), None, PLAIN, seed=1)

    judged, learnt = (set(pool["x"][:, 0].tolist()) for pool in (divided.judges.rows, divided.lessons.pool))
    assert (len(judged), len(learnt)) == (80, 20)
    assert not judged & learnt
    assert "20 of the 100 rows were set aside" in divided.note


def test_the_same_seed_sets_the_same_rows_aside() -> None:
    first, again, other = (divide(_data(), None, PLAIN, seed).lessons.pool["x"].tolist() for seed in (1, 1, 2))

    assert first == again != other


def test_rows_given_to_learn_from_leave_all_others_to_judge() -> None:
    divided = divide(_data(), _data(30), PLAIN, seed=1)

    assert len(divided.judges.labels) == 100
    assert divided.note == ""


def test_a_model_that_takes_no_batches_learns_row_by_row() -> None:
    requests = list(divide(_data(), _data(3), ALONE, seed=1).lessons.requests())

    assert [request["x"].shape for request in requests] == [(1, 4)] * 3


def test_fewer_rows_are_spread_over_all_of_them() -> None:
    lessons = divide(_data(), _data(1000), PLAIN, seed=1).lessons

    assert lessons.fewer(3).pool["x"][:, 0].tolist() == [0, 500, 999]
    assert lessons.fewer(2000) is lessons


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_data(labels=None), "there are no labels to judge accuracy by: say which column"),
        (_data(columns=5), "the input 'x': it takes rows of [4], the data have [5]"),
        (_data(rows=10), "8 rows are too few to judge by"),
        (
            DataSet("d", {"X": np.array([["a"] * 4] * 30, dtype=object)}, np.zeros(30)),
            "it takes FP32, and the data are texts",
        ),
    ],
    ids=["no labels", "columns", "few", "texts"],
)
def test_data_that_do_not_fit_are_refused_in_a_sentence(data: DataSet, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        divide(data, None, PLAIN, seed=1)

    assert message in str(refused.value)


def test_rows_to_learn_from_must_fit_too() -> None:
    with pytest.raises(Invalid, match=r"it takes rows of \[4\], the data have \[3\]"):
        divide(_data(), _data(columns=3), PLAIN, seed=1)


def test_one_file_cannot_judge_and_be_learnt_from() -> None:
    data = replace(_data(), digest="sha256:" + "0" * 64)

    with pytest.raises(Invalid, match="the rows to learn from are those that judge"):
        divide(data, data, PLAIN, seed=1)
