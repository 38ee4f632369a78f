"""Batching is on where nothing objects and a row gets clearly cheaper, and only as far as that goes."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from tests.unit.runtime.fake_model import FakeModel

from tidegate.bundle.manifest import TensorSpec
from tidegate_runtime.batching import by_gain, decide
from tidegate_runtime.interfaces import Array, Objection
from tidegate_runtime.signature import Signature

MOST = 32


@pytest.mark.parametrize(
    ("measured", "rows", "code"),
    [
        (((1, 6e-6), (2, 6e-6), (4, 6e-6), (8, 7e-6)), MOST, "Gain"),
        (((1, 1.0e-3), (2, 1.99e-3)), 1, "NoGain"),
        (((1, 1.0e-3), (2, 1.71e-3), (4, 3.41e-3)), 1, "NoGain"),
        (((1, 1.0e-3), (2, 1.69e-3), (4, 3.38e-3)), 2, "Gain"),
        (((1, 1.0e-3), (2, 1.2e-3), (4, 1.6e-3), (8, 4.0e-3)), 4, "Gain"),
        (((1, 1.0e-3), (2, 2.5e-3)), 1, "NoGain"),
        (((1, 0.9),), 1, "NotMeasured"),
        ((), 1, "NotMeasured"),
    ],
    ids=["still cheaper", "none", "14 %", "16 %, then none", "best in the middle", "dearer", "one size", "nothing"],
)
def test_the_costs_decide_how_many_rows_a_run_should_have(
    measured: tuple[tuple[int, float], ...], rows: int, code: str
) -> None:
    found = by_gain(measured, MOST)
    assert (found.rows, found.code) == (rows, code)


def test_a_batch_is_never_larger_than_the_flag_says() -> None:
    costs = ((1, 1.0e-3), (2, 1.2e-3), (4, 1.6e-3), (8, 4.0e-3))
    assert by_gain(costs, 3).rows == 3
    assert by_gain(costs[:3], 3).rows == 3


def test_a_batch_is_never_larger_than_the_last_one_that_ran() -> None:
    still_cheaper = ((1, 1.0e-5), (2, 1.1e-5), (4, 1.2e-5), (8, 1.3e-5))
    assert decide(FakeModel(costs=still_cheaper, most_together=8), MOST).rows == 8
    assert decide(FakeModel(costs=still_cheaper, most_together=MOST), MOST).rows == MOST


def test_the_sentence_has_the_figures() -> None:
    assert (
        by_gain(((1, 1e-3), (2, 1.99e-3)), MOST).sentence == "a row costs 1000.0 µs alone and 995.0 µs in a batch of 2"
    )


def test_an_objection_and_the_flag_come_before_the_costs() -> None:
    model = FakeModel(objection=Objection("RowsDepend", "they do"))
    assert astuple(decide(model, MOST)) == (1, "RowsDepend", "they do")
    assert decide(model, 1).code == decide(FakeModel(), 1).code == "SwitchedOff"
    assert astuple(decide(FakeModel(), MOST))[:2] == (MOST, "Gain")


def test_only_an_optional_input_without_a_row_for_each_row_keeps_a_request_apart() -> None:
    ports = (
        TensorSpec("scale", "FP32", (1,), optional=True),
        TensorSpec("x", "FP32", ("N", 2)),
        TensorSpec("mask", "FP32", ("N", 2), optional=True),
        TensorSpec("level", "FP32", (), optional=True),
    )
    signature = Signature(FakeModel(inputs=ports), MOST)
    x: dict[str, Array] = {"x": np.ones((3, 2), np.float32)}
    assert not signature.is_apart(x)
    assert not signature.is_apart(x | {"mask": x["x"]})
    assert signature.is_apart(x | {"level": np.ones((), np.float32)})
    scaled = {"scale": np.ones(1, np.float32)} | x
    assert signature.is_apart(scaled)
    assert signature.rows(scaled) == signature.rows(x) == 3
