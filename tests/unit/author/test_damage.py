"""The proof of golden samples: what is damaged, and that samples which cannot see it are told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tidegate.author import GoldenRequest
from tidegate.author.golden import greedy


def test_every_kind_of_damage_to_every_weight_is_tried_and_noticed(packed: Any, linear: Any) -> None:
    damage = packed(linear()).bundle.manifest.parity["goldenDamage"]

    assert damage == {"share": "1.0000", "noticed": 3, "tried": 3}


def test_samples_that_cannot_see_a_zeroed_tensor_are_told_with_its_name(
    packed: Any, linear: Any, tmp_path: Any
) -> None:
    np.savez(tmp_path / "blind.npz", x=np.zeros((2, 4)))

    result = packed(linear(), golden=GoldenRequest(str(tmp_path / "blind.npz")))

    assert result.bundle.manifest.parity["goldenDamage"]["noticed"] == 0
    assert "notice 0% of the damage" in result.warnings[0]
    assert "W (zeroed)" in result.warnings[0]


def test_a_weight_that_no_answer_depends_on_is_named(packed: Any, onnx_file: Any) -> None:
    random = np.random.default_rng(0)
    source = onnx_file(
        [
            helper.make_node("MatMul", ["x", "W"], ["h"]),
            helper.make_node("MatMul", ["x", "dead"], ["d"]),
            helper.make_node("Mul", ["d", "nothing"], ["z"]),
            helper.make_node("Add", ["h", "z"], ["y"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        {
            "W": random.standard_normal((4, 3)).astype(np.float32),
            "dead": random.standard_normal((4, 3)).astype(np.float32),
            "nothing": np.zeros(1, np.float32),
        },
    )

    result = packed(source)

    assert "dead (zeroed)" in result.bundle.manifest.parity["goldenDamage"]["unnoticed"]
    assert "dead" in result.warnings[0]


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.float32])
def test_weights_of_every_float_type_are_damaged(packed: Any, onnx_file: Any, kind: Any) -> None:
    number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    source = onnx_file(
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        [helper.make_tensor_value_info("x", number, ["batch", 4])],
        [helper.make_tensor_value_info("y", number, ["batch", 3])],
        {"W": np.random.default_rng(0).standard_normal((4, 3)).astype(kind)},
    )

    damage = packed(source).bundle.manifest.parity["goldenDamage"]

    assert (damage["noticed"], damage["tried"]) == (3, 3)


def test_weights_inside_a_constant_node_are_damaged_too(packed: Any, onnx_file: Any) -> None:
    weight = helper.make_tensor("value", TensorProto.FLOAT, [4, 3], np.arange(12, dtype=np.float32))
    source = onnx_file(
        [
            helper.make_node("Constant", [], ["W"], name="kept", value=weight),
            helper.make_node("MatMul", ["x", "W"], ["y"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
    )

    assert packed(source).bundle.manifest.parity["goldenDamage"]["tried"] == 3


def test_quantized_weights_are_mirrored_around_their_range(packed: Any, onnx_file: Any) -> None:
    source = onnx_file(
        [
            helper.make_node("DequantizeLinear", ["Q", "scale", "zero"], ["W"]),
            helper.make_node("MatMul", ["x", "W"], ["y"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 40])],
        {
            "Q": np.random.default_rng(0).integers(0, 255, (8, 40)).astype(np.uint8),
            "scale": np.array(0.01, np.float32),
            "zero": np.array(128, np.uint8),
        },
    )

    damage = packed(source).bundle.manifest.parity["goldenDamage"]

    assert (damage["noticed"], damage["tried"]) == (3, 3)


def test_the_first_rows_chosen_are_those_that_notice_most() -> None:
    noticed = np.array([[1, 0, 1, 0], [1, 0, 1, 0], [0, 1, 0, 0]], dtype=bool)

    chosen = greedy(noticed, np.ones(4), np.zeros(4, int), usable=np.ones(4, bool), count=2)

    assert chosen == [0, 2]


def test_among_equals_new_classes_and_small_leads_come_first() -> None:
    noticed = np.ones((1, 4), dtype=bool)
    leads = np.array([0.5, 0.1, 0.9, 0.8])
    classes = np.array([0, 0, 0, 1])

    chosen = greedy(noticed, leads, classes, usable=np.ones(4, bool), count=3)

    assert chosen == [1, 3, 0]


def test_rows_that_may_tip_over_elsewhere_are_not_chosen() -> None:
    chosen = greedy(
        np.ones((1, 3), bool), np.zeros(3), np.zeros(3, int), usable=np.array([False, True, False]), count=3
    )

    assert chosen == [1]


def test_an_ensemble_of_many_small_parts_is_damaged_too(packed: Any, onnx_file: Any) -> None:
    count = 150
    weights = {f"W{n}": np.random.default_rng(n).standard_normal((4, 3)).astype(np.float32) for n in range(count)}
    nodes = [helper.make_node("MatMul", ["x", name], [f"y_{name}"]) for name in weights]
    nodes.append(helper.make_node("Sum", [f"y_{name}" for name in weights], ["y"]))
    source = onnx_file(
        nodes,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        weights,
    )

    damage = packed(source).bundle.manifest.parity["goldenDamage"]

    assert damage["noticed"] == damage["tried"] == 24
