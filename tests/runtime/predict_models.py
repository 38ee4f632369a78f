"""The models that the examples of TensorFlow Serving's REST API speak of, and some that are less usual."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper
from tests.runtime.small_bundles import cast, model, value

Shape = Sequence[int | str]
ROWS: Shape = ("N",)


def half_plus_three() -> onnx.ModelProto:
    nodes = [helper.make_node("Mul", ["x", "half"], ["m"]), helper.make_node("Add", ["m", "three"], ["y"])]
    weights = {"half": np.array([0.5], np.float32), "three": np.array([3.0], np.float32)}
    return model(nodes, [value("x", TensorProto.FLOAT, ROWS)], [value("y", TensorProto.FLOAT, ROWS)], weights)


def sensors() -> onnx.ModelProto:
    """Three inputs of the same rows, and three outputs."""
    nodes = [
        helper.make_node("Identity", ["tag"], ["label"]),
        helper.make_node("ReduceSum", ["signal", "last"], ["total"], keepdims=0),
        helper.make_node("Add", ["sensor", "sensor"], ["doubled"]),
    ]
    inputs = [
        value("tag", TensorProto.STRING, ROWS),
        value("signal", TensorProto.FLOAT, ["N", 5]),
        value("sensor", TensorProto.FLOAT, ["N", 2, 2]),
    ]
    outputs = [
        value("label", TensorProto.STRING, ROWS),
        value("total", TensorProto.FLOAT, ROWS),
        value("doubled", TensorProto.FLOAT, ["N", 2, 2]),
    ]
    return model(nodes, inputs, outputs, {"last": np.array([1])})


def unlike() -> onnx.ModelProto:
    """Two inputs, each with rows of its own."""
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in ("a", "b")]
    shapes: dict[str, Shape] = {"a": ("N",), "b": ("M", 2)}
    return model(
        nodes,
        [value(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [value(f"{name}_out", TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        {},
    )


def summary() -> onnx.ModelProto:
    """An output for each row, and one for all."""
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("ReduceSum", ["x"], ["sum"])]
    outputs = [value("y", TensorProto.FLOAT, ROWS), value("sum", TensorProto.FLOAT, [1])]
    return model(nodes, [value("x", TensorProto.FLOAT, ROWS)], outputs, {})


def texts(output: str) -> onnx.ModelProto:
    nodes = [helper.make_node("Identity", ["text"], [output])]
    return model(nodes, [value("text", TensorProto.STRING, ROWS)], [value(output, TensorProto.STRING, ROWS)], {})


MODELS = {
    "half-plus-three": half_plus_three(),
    "pairs": cast(TensorProto.FLOAT, ["N", 1, 2]),
    "ragged": cast(TensorProto.FLOAT, ["N", "M"]),
    "scalar": cast(TensorProto.FLOAT, []),
    "counts": cast(TensorProto.INT64, ROWS),
    "flags": cast(TensorProto.BOOL, ROWS),
    "halves": cast(TensorProto.FLOAT16, ROWS),
    "texts": texts("y"),
    "bytes": texts("y_bytes"),
    "sensors": sensors(),
    "unlike": unlike(),
    "summary": summary(),
}
