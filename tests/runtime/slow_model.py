"""A model whose run takes as long as its input says, in small steps, so that a deadline can end it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper
from tests.runtime import small_bundles as small

from tidegate.bundle.golden import GoldenSample

SHORT = 3_000  # steps: some 20 ms, long enough that it is never run on the loop
ENDLESS = 2**40


def stepping() -> onnx.ModelProto:
    """`steps` times a small product of matrices."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c_out"]), helper.make_node("MatMul", ["v", "w"], ["v_out"])],
        "body",
        [
            small.value("i", TensorProto.INT64, []),
            small.value("c", TensorProto.BOOL, []),
            small.value("v", TensorProto.FLOAT, [8, 64]),
        ],
        [small.value("c_out", TensorProto.BOOL, []), small.value("v_out", TensorProto.FLOAT, [8, 64])],
    )
    nodes = [
        helper.make_node("Squeeze", ["steps"], ["count"]),
        helper.make_node("Loop", ["count", "", "start"], ["end"], body=body),
        helper.make_node("ReduceSum", ["end"], ["y"], keepdims=1),
    ]
    weights = {"w": np.zeros((64, 64), np.float32), "start": np.ones((8, 64), np.float32)}
    steps = [small.value("steps", TensorProto.INT64, [1])]
    return small.model(nodes, steps, [small.value("y", TensorProto.FLOAT, [1, 1])], weights)


def sample() -> GoldenSample:
    return GoldenSample({"steps": np.array([SHORT])}, {"y": np.zeros((1, 1), np.float32)})


def request(steps: int) -> dict[str, object]:
    return {"inputs": [{"name": "steps", "shape": [1], "datatype": "INT64", "data": [steps]}]}
