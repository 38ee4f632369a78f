"""The sensitivity search: what 8 bits hurt stays in float, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tidegate.author.optimize.mixed import mixed
from tidegate.author.optimize.quality import R2, Fidelity
from tidegate.author.optimize.rows import Lessons
from tidegate.errors import Failed

NUMBERS = Fidelity(R2, {"y": "FP32"})


@pytest.fixture
def spiked(build: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    """Three dense layers; before the second, one channel is ten thousand times as large as those that matter."""
    random = np.random.default_rng(0)
    first, second, third = (random.standard_normal(s).astype(np.float32) for s in ((16, 32), (32, 32), (32, 4)))
    first[:, 0] *= 1e4
    second[0] = 0
    nodes = [
        helper.make_node("MatMul", ["x", "A"], ["1"], name="first"),
        helper.make_node("Relu", ["1"], ["2"]),
        helper.make_node("MatMul", ["2", "B"], ["3"], name="second"),
        helper.make_node("Relu", ["3"], ["4"]),
        helper.make_node("MatMul", ["4", "C"], ["y"], name="third"),
    ]
    return build(nodes, (16,), {"A": first, "B": second, "C": third})


def test_the_layer_that_8_bits_hurt_stays_in_float(spiked: onnx.ModelProto, lessons: Lessons) -> None:
    said: list[str] = []

    found = mixed(spiked, lessons, NUMBERS, 0.01, said.append)

    types = {tensor.name: tensor.data_type for tensor in found.model.graph.initializer}
    assert "second" in found.left
    assert "third" not in found.left
    assert types["B"] == onnx.TensorProto.FLOAT
    assert types["C_quantized"] == onnx.TensorProto.INT8
    assert said[0] == "layer 1 of 3 alone in 8 bits"


def test_errors_are_told_the_worst_first(spiked: onnx.ModelProto, lessons: Lessons) -> None:
    errors = [error for _, error in mixed(spiked, lessons, NUMBERS, 0.01, print).errors]

    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 10 * errors[-1]


def test_nothing_stays_in_float_where_nothing_is_hurt(dense: Any, lessons: Lessons) -> None:
    assert mixed(dense(), lessons, NUMBERS, 0.01, print).left == ()


def test_a_model_that_bears_no_layer_in_8_bits_is_refused(dense: Any, lessons: Lessons) -> None:
    with pytest.raises(Failed, match="every layer in 8 bits changes more answers than --max-accuracy-drop allows"):
        mixed(dense(), lessons, NUMBERS, 0.0, print)
