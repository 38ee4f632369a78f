"""Structured pruning: channels that say nothing new go without a trace, and nothing is cut that others read."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tidegate.author.optimize.probe import answers
from tidegate.author.optimize.prune import pruned, refitted, staying
from tidegate.author.optimize.rows import Lessons
from tidegate.errors import Failed


def _worst(model: onnx.ModelProto, changed: onnx.ModelProto, lessons: Lessons) -> float:
    before, after = (answers(each, ["y"], lessons)[0] for each in (model, changed))
    return float(np.abs(after - before).max() / before.std())


def _dims(model: onnx.ModelProto) -> dict[str, list[int]]:
    return {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}


def test_channels_that_are_there_twice_go_without_a_trace(dense: Any, lessons: Lessons) -> None:
    model = dense(copies=4)

    found = pruned(model, lessons, 0.75, seed=0)

    assert found.layers == (("first", 64, 16),)
    assert _dims(found.model)["A"] == [16, 16]
    assert _dims(found.model)["B"] == [16, 4]


def test_those_that_stay_take_over_what_they_can(dense: Any, lessons: Lessons) -> None:
    model = dense()
    fitted = pruned(model, lessons, 0.5, seed=0).model

    cut = onnx.ModelProto()
    cut.CopyFrom(fitted)
    original = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = [_column(original["A"], column) for column in _columns(fitted)]
    for tensor in cut.graph.initializer:
        if tensor.name == "B":
            values = onnx.numpy_helper.to_array(original["B"])[kept]
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, "B"))

    def moved(each: onnx.ModelProto) -> float:
        before, after = (answers(one, ["y"], lessons)[0] for one in (model, each))
        return float(((after - before) ** 2).mean())

    assert moved(fitted) < 0.5 * moved(cut)


def _columns(model: onnx.ModelProto) -> list[Any]:
    (first,) = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "A"]
    return list(first.T)


def _column(tensor: onnx.TensorProto, column: Any) -> int:
    return int(np.abs(onnx.numpy_helper.to_array(tensor).T - column).sum(axis=1).argmin())


@pytest.mark.parametrize("flatten", ["Flatten", "Reshape"])
def test_channels_of_convolutions_go_through_pools_and_flattening(build: Any, flatten: str) -> None:
    random = np.random.default_rng(0)
    one, two = (random.standard_normal(shape).astype(np.float32) for shape in ((2, 1, 3, 3), (4, 8, 3, 3)))
    weights = {"A": one.repeat(4, axis=0), "B": two.repeat(2, axis=0), "b": np.ones(8, np.float32)}
    weights["C"] = random.standard_normal((8 * 4, 5)).astype(np.float32)
    shape = ["shape"] if flatten == "Reshape" else []
    model = build(
        [
            helper.make_node("Conv", ["x", "A"], ["1"], name="one", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["1"], ["2"]),
            helper.make_node("Conv", ["2", "B", "b"], ["3"], name="two", pads=[1, 1, 1, 1], strides=[2, 2]),
            helper.make_node("Relu", ["3"], ["4"]),
            helper.make_node("MaxPool", ["4"], ["5"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node(flatten, ["5", *shape], ["6"]),
            helper.make_node("Gemm", ["6", "C"], ["y"], name="three"),
        ],
        (1, 8, 8),
        {**weights, **({"shape": np.array([-1, 32])} if shape else {})},
    )
    lessons = Lessons({"x": random.standard_normal((200, 1, 8, 8)).astype(np.float32)})

    found = pruned(model, lessons, 0.5, seed=0)

    assert [row[1:] for row in found.layers] == [(8, 4), (8, 4)]
    assert _dims(found.model)["A"] == [4, 1, 3, 3]
    assert _dims(found.model)["B"] == [4, 4, 3, 3]
    assert _dims(found.model)["C"] == [16, 5]
    assert _worst(model, found.model, lessons) < 1.5


def test_duplicates_among_the_channels_of_a_convolution_leave_the_answers_as_they_were(build: Any) -> None:
    random = np.random.default_rng(0)
    first = np.concatenate([random.standard_normal((4, 1, 3, 3)), 1e-3 * random.standard_normal((4, 1, 3, 3))])
    model = build(
        [
            helper.make_node("Conv", ["x", "A"], ["1"], name="one", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["1"], ["2"]),
            helper.make_node("Conv", ["2", "B"], ["3"], name="two", dilations=[2, 2]),
            helper.make_node("GlobalAveragePool", ["3"], ["4"]),
            helper.make_node("Flatten", ["4"], ["y"]),
        ],
        (1, 8, 8),
        {"A": first.astype(np.float32), "B": random.standard_normal((3, 8, 3, 3)).astype(np.float32)},
    )
    lessons = Lessons({"x": random.standard_normal((100, 1, 8, 8)).astype(np.float32)})

    found = pruned(model, lessons, 0.5, seed=0)

    assert [row[1:] for row in found.layers] == [(8, 4)]
    assert _worst(model, found.model, lessons) < 0.05


def test_a_bias_added_by_a_node_of_its_own_is_cut_as_well(build: Any, lessons: Lessons) -> None:
    random = np.random.default_rng(0)
    weights = {"A": random.standard_normal((4, 8)), "a": random.standard_normal(8), "B": random.standard_normal((8, 2))}
    model = build(
        [
            helper.make_node("MatMul", ["x", "A"], ["1"], name="first"),
            helper.make_node("Add", ["a", "1"], ["2"]),
            helper.make_node("Tanh", ["2"], ["3"]),
            helper.make_node("MatMul", ["3", "B"], ["y"], name="second"),
        ],
        (3, 4),  # three dimensions: ONNX Runtime does not join MatMul and Add there
        {name: array.astype(np.float32) for name, array in weights.items()},
    )
    rows = Lessons({"x": random.standard_normal((100, 3, 4)).astype(np.float32)})

    found = pruned(model, rows, 0.25, seed=0)

    assert _dims(found.model)["a"] == [6]
    assert answers(found.model, ["y"], rows)[0].shape == (100, 3, 2)


def test_what_a_branch_or_an_output_reads_is_not_cut(build: Any, lessons: Lessons) -> None:
    weights = {"A": np.ones((16, 8), np.float32), "B": np.ones((8, 4), np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "A"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "B"], ["y"]),
    ]

    with pytest.raises(Failed, match="no two layers in a row"):
        pruned(build(nodes, (16,), weights, outputs=("y", "r")), lessons, 0.5, seed=0)


@pytest.mark.parametrize(
    ("channels", "share", "stay"), [(1024, 0.5, 512), (128, 0.1, 112), (64, 0.2, 48), (32, 0.9, 16), (8, 0.5, 4)]
)
def test_whole_blocks_of_channels_stay(channels: int, share: float, stay: int) -> None:
    assert staying(channels, share) == stay


def test_the_fit_is_that_of_least_squares() -> None:
    random = np.random.default_rng(0)
    inputs, weight, bias = random.standard_normal((500, 6)), random.standard_normal((6, 3)), random.standard_normal(3)

    found, moved = refitted(inputs, inputs @ weight + bias, weight + 1e-2, bias * 0)

    assert np.abs(found - weight).max() < 1e-2
    assert moved is not None
    assert np.abs(moved - bias).max() < 1e-2


def test_a_share_that_takes_nothing_out_is_refused(dense: Any, lessons: Lessons) -> None:
    with pytest.raises(Failed, match="5% of the channels of each layer is too little to take any out") as refused:
        pruned(dense(), lessons, 0.05, seed=0)

    assert refused.value.reason == "NotOptimizable"
