"""The benchmark of smaller models: its networks learn, and its verdict is about size, accuracy and speed at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from benchmarks import digits
from benchmarks.optimize import TO_REACH, VARIANTS, Row, table

ROW = Row(
    "mlp", "static int8", 1_000_000, 0.98, (0.97, 0.99), (0.0, -0.01, 0.01), (10.0, 100.0), (2.0, 3.0), (1140, 0.9791)
)


def test_a_row_is_reached_when_it_is_as_small_as_accurate_and_as_fast() -> None:
    assert ROW.reached
    assert not replace(ROW, bytes=1141 * 1024).reached
    assert not replace(ROW, accuracy=0.979).reached
    assert not replace(ROW, speedup=(3.0, 2.4)).reached
    assert replace(ROW, network="cnn", speedup=(3.0, 2.4)).reached


def test_the_table_has_what_was_to_be_reached_beside_what_was() -> None:
    heads, _, line = table([ROW]).splitlines()

    assert heads.count("|") == line.count("|")
    assert "| 0.9800 | 0.9700 - 0.9900 | 10 | 100 | 3.00 x | 0.9791 in 1,140 |" in line


def test_every_figure_that_is_to_be_reached_belongs_to_a_variant() -> None:
    for wanted in TO_REACH.values():
        assert wanted.keys() <= {"fp32", *VARIANTS}


@pytest.mark.parametrize("layers", [digits.mlp_layers, digits.cnn_layers])
def test_the_onnx_form_answers_as_the_layers_do(layers: Callable[..., list[digits.Layer]]) -> None:
    made, rows = layers(np.random.default_rng(0)), digits.load().test_rows[:20]
    session = onnxruntime.InferenceSession(digits.as_onnx(made, "network").SerializeToString())
    x = rows.reshape(-1, 8, 8, 1)
    for layer in made:
        x = layer.forward(x)

    assert np.abs(session.run(None, {"pixels": rows})[0] - x).max() < 1e-3


def test_the_way_back_gives_the_slope_of_the_loss() -> None:
    layers, data = digits.cnn_layers(np.random.default_rng(0)), digits.load()
    rows, right = data.rows[:8].reshape(-1, 8, 8, 1), data.digits[:8]
    digits.propagate(layers, rows, right)
    weight, slope = layers[0].weight, float(layers[0].gradient[0][4, 0])

    losses = []
    for step in (1e-2, -2e-2):
        weight[4, 0] += step
        losses.append(_loss(layers, rows, right))

    assert (losses[0] - losses[1]) / 2e-2 == pytest.approx(slope, rel=0.05)


def _loss(layers: list[digits.Layer], x: digits.Array, right: digits.Array) -> float:
    for layer in layers:
        x = layer.forward(x)
    exponents = np.exp(x - x.max(axis=1, keepdims=True))
    return float(-np.log((exponents / exponents.sum(axis=1, keepdims=True))[np.arange(len(x)), right]).mean())


def test_the_split_has_719_rows_to_judge_by() -> None:
    data = digits.load()

    assert (len(data.rows), len(data.test_rows)) == (1078, 719)
    assert np.unique(data.test_digits).size == 10
