"""Rows as people have them become the inputs of a model: in its order, and none of them changed by a cast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tidegate.author import DataSet
from tidegate.author.columns import as_inputs, in_order
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.errors import Invalid


def takes(element_type: str, *names: str) -> Interface:
    return Interface(tuple(TensorSpec(name, element_type, ("batch",)) for name in names), ())


@pytest.mark.parametrize(
    ("element_type", "values", "told"),
    [
        ("UINT8", [0.0, 0.7], r"column 'a': it holds 0\.7 \(row 2\), and the model takes UINT8: .* from 0 to 255"),
        ("UINT8", [1, 255, 300], r"it holds 300 \(row 3\)"),
        ("UINT64", [1, -1], r"it holds -1 \(row 2\)"),
        ("INT64", [np.nan], r"it holds nan \(row 1\)"),
        ("INT64", [1e30], r"it holds 1e\+30 \(row 1\)"),
        ("INT32", [2**31], r"it holds 2147483648 \(row 1\).*--drop-columns"),
    ],
)
def test_what_a_type_of_whole_numbers_cannot_hold_is_refused(element_type: str, values: list[Any], told: str) -> None:
    with pytest.raises(Invalid, match=told):
        as_inputs(DataSet("rows", {"a": np.array(values), "b": np.zeros(len(values))}), takes(element_type, "a", "b"))


def test_a_column_of_a_matrix_is_named_too() -> None:
    model = Interface((TensorSpec("x", "INT64", ("batch", 2)),), ())

    with pytest.raises(Invalid, match=r"column 'b': it holds 0\.5"):
        as_inputs(DataSet("rows", {"a": np.arange(3), "b": np.full(3, 0.5)}), model)


@pytest.mark.parametrize("values", [[1.0, 255.0], [True, False], [0, 255]])
def test_whole_numbers_that_fit_are_taken_whatever_holds_them(values: list[Any]) -> None:
    found = as_inputs(DataSet("rows", {"a": np.array(values)}), takes("UINT8", "a"))["a"]

    assert found.dtype.name == "uint8"
    assert found.tolist() == values


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_whole_numbers_that_become_others_in_32_bits_are_told(packed: Any, blobs: DataSet, kind: type) -> None:
    names = ("a", "b", "c", "id")
    columns = dict(zip(names, blobs.columns["X"].T, strict=True)) | {"id": np.full(180, 2**24 + 1, kind)}
    estimator = LogisticRegression().fit(blobs.columns["X"], blobs.labels)

    result = packed(estimator, data=DataSet("rows", columns))

    assert "column 'id' holds whole numbers that FP32 does not: 16777217 becomes 16777216" in result.warnings[0]


def test_columns_come_into_the_order_of_a_model_that_has_their_names() -> None:
    data = DataSet("rows", {"b c": np.ones(2), "a": np.zeros(2)})

    assert list(in_order(data, ["a", "b_c"]).columns) == ["a", "b c"]


def test_without_names_on_either_side_columns_stay_as_they_are() -> None:
    columns, matrix = DataSet("rows", {"b": np.ones(2), "a": np.zeros(2)}), DataSet("rows", {"X": np.zeros((2, 2))})

    assert in_order(columns, ()) is columns
    assert in_order(matrix, ("a", "b")) is matrix


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a", "c"), "trained on the columns a, c: 'b' is none of them"),
        (("a", "b", "c"), "trained on the columns a, b, c: 'c' is not in the data"),
    ],
)
def test_columns_of_other_names_are_refused(names: tuple[str, ...], told: str) -> None:
    with pytest.raises(Invalid, match=told):
        in_order(DataSet("rows", {"b": np.ones(2), "a": np.zeros(2)}), names)


def test_rows_to_be_published_in_another_order_are_refused() -> None:
    columns = {"b": np.ones(2), "a": np.zeros(2)}

    with pytest.raises(Invalid, match=r"another order .* for --hash-columns: a, b"):
        in_order(DataSet("rows", columns, published=columns), ("a", "b"))
