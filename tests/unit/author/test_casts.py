"""What a cast does to numbers: which are refused, which are only rounded, and BF16, which numpy does not know."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tidegate.author.casts import as_answer, as_sample, first_lost, first_rounded
from tidegate.author.session import as_type
from tidegate.bundle.errors import GoldenInvalid


@pytest.mark.parametrize(
    ("values", "element_type", "told"),
    [
        ([1.0, 1.5], "INT64", r"x: 1\.5 \(row 2\) is no INT64: give what the model takes: whole numbers from -9223"),
        ([3, -1], "UINT8", r"-1 \(row 2\) is no UINT8"),
        ([np.nan], "INT32", r"nan \(row 1\) is no INT32"),
        ([0, 2**53 + 1], "FP64", r"9007199254740993 \(row 2\) is no FP64, 9007199254740992 is"),
        (
            [2049],
            "FP16",
            r"2049 \(row 1\) is no FP16, 2048 is: .*numbers up to 6\.55e\+04, whole ones exactly up to 2048",
        ),
        ([70_000], "FP16", r"70000 \(row 1\) is no FP16"),
        ([70_000.5], "FP16", r"70000\.5 \(row 1\) is no FP16"),
        ([257], "BF16", r"257 \(row 1\) is no BF16, 256 is"),
        ([3.3e38, 3.4e39], "BF16", r"3\.4e\+39 \(row 2\) is no BF16"),
        ([0, 1, 2], "BOOL", r"2 \(row 3\) is no BOOL: .*true and false, 1 and 0"),
        ([1.0], "BYTES", "it holds float64, and the model has BYTES there: give what the model takes: texts"),
        (
            ["1"],
            "INT8",
            "it holds texts, and the model has INT8 there: give what the model takes: whole numbers from -128",
        ),
        ([1j], "FP32", r"it holds complex128, and the model has FP32 there: give .*: numbers up to 3\.4e\+38"),
        ([np.datetime64("2026-01-01")], "INT64", "it holds datetime64.*, and the model has INT64 there: give what"),
        (np.array([1.5], ml_dtypes.bfloat16), "INT64", r"1\.5 \(row 1\) is no INT64"),
        (np.array([300], ml_dtypes.bfloat16), "UINT8", r"300\.0 \(row 1\) is no UINT8"),
        (["2026-01-01"], "INT64", "it holds texts, and the model has INT64 there"),
    ],
)
def test_a_value_that_becomes_another_is_refused_with_its_row(values: list[Any], element_type: str, told: str) -> None:
    with pytest.raises(GoldenInvalid, match=told):
        as_sample(np.array(values), element_type, "x")


@pytest.mark.parametrize(
    ("given", "element_type", "kept"),
    [
        (np.array([0.1]), "FP32", [np.float32(0.1)]),
        (np.array([np.inf, -np.inf]), "FP16", [np.inf, -np.inf]),
        (np.array([7], np.int32), "INT64", [7]),
        (np.array([2.0, -1.0]), "INT8", [2, -1]),
        (np.array([1.0, 0.0]), "BOOL", [True, False]),
        (np.array([True, False]), "FP32", [1.0, 0.0]),
        (np.array([b"l\xc3\xa4w", b"high"]), "BYTES", ["läw", "high"]),
        (np.array(["low"], dtype=object), "BYTES", ["low"]),
        (np.array([]), "UINT8", []),
        (np.array(5.0), "INT64", 5),
    ],
)
def test_what_only_changes_its_type_is_taken(given: Any, element_type: str, kept: Any) -> None:
    found = as_sample(given, element_type, "x")

    assert found.tolist() == kept
    assert found.shape == given.shape


@pytest.mark.parametrize(
    "given",
    [np.array([1.0, -2.5]), np.array([1.0, -2.5], ml_dtypes.bfloat16), np.array([0x3F80, 0xC020], np.uint16)],
    ids=["numbers", "bfloat16", "bits"],
)
def test_bf16_is_kept_as_its_bits_whatever_it_comes_in(given: Any) -> None:
    assert as_sample(given, "BF16", "x").tolist() == as_answer(given, "BF16", "x").tolist() == [0x3F80, 0xC020]


def test_whole_numbers_of_16_bits_in_data_are_numbers_not_bits() -> None:
    given = np.array([1, 257], np.uint16)

    assert as_type(given[:1], "BF16").tolist() == [0x3F80]
    found = first_rounded(given, "BF16")
    assert found is not None
    assert (found.row, found.value, found.becomes) == (2, 257, 256)


@pytest.mark.parametrize(
    ("given", "element_type", "kept"),
    [
        (np.array([2**24 + 1]), "FP32", [float(2**24)]),
        (np.array([2049]), "FP16", [2048.0]),
        (np.array([3, 12]), "BYTES", ["3", "12"]),
        (np.array([1.0, 2.0]), "INT64", [1, 2]),
    ],
)
def test_answers_that_are_compared_with_a_tolerance_may_be_rounded_and_numbers_may_stand_for_texts(
    given: Any, element_type: str, kept: list[Any]
) -> None:
    assert as_answer(given, element_type, "y").tolist() == kept


@pytest.mark.parametrize(
    ("values", "element_type", "told"),
    [
        ([70_000], "FP16", r"y: 70000 \(row 1\) is no FP16: give what the model takes"),
        ([1.5], "INT64", r"1\.5 \(row 1\) is no INT64"),
        (["1"], "FP32", "it holds texts, and the model has FP32 there: give what"),
        ([1j], "FP32", "it holds complex128, and the model has FP32 there: give what"),
    ],
)
def test_an_answer_that_becomes_another_is_refused(values: list[Any], element_type: str, told: str) -> None:
    with pytest.raises(GoldenInvalid, match=told):
        as_answer(np.array(values), element_type, "y")


def test_rows_are_counted_also_where_each_is_a_matrix() -> None:
    given = np.zeros((3, 2, 2))
    given[2, 0, 1] = 0.5

    found = first_lost(given, "INT64")

    assert found is not None
    assert (found.row, found.value) == (3, 0.5)
