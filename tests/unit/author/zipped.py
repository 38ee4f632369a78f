"""Classifiers whose chances are a list of a dictionary per row, as converters make them, and what ONNX Runtime answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
ROWS = np.random.default_rng(5).standard_normal((6, 4)).astype(np.float32)
COEFFICIENTS = [1.5, -0.5, 0.25, -1.0, 0.5, 2.0, 0.75, -0.25, -1.25, 1.0, -2.0, 0.5]
LABELS: dict[str, Any] = {"classlabels_int64s": [4, 7, 1]}
WORDS: dict[str, Any] = {"classlabels_strings": ["low", "middle", "high"]}


def tensor(name: str, kind: int = FLOAT, shape: Sequence[Any] | None = ("N", 3)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def dictionaries(name: str = "chances", key: int = INT64) -> onnx.ValueInfoProto:
    row = helper.make_map_type_proto(key, helper.make_tensor_type_proto(FLOAT, []))
    return helper.make_value_info(name, helper.make_sequence_type_proto(row))


def zipmap(given: str = "scores", made: str = "chances", **labels: Any) -> onnx.NodeProto:
    return helper.make_node("ZipMap", [given], [made], domain="ai.onnx.ml", **(labels or LABELS))


def linear_classifier(labels: dict[str, Any]) -> onnx.NodeProto:
    named = {
        "classlabels_ints": labels.get("classlabels_int64s"),
        "classlabels_strings": labels.get("classlabels_strings"),
    }
    return helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "raw"],
        domain="ai.onnx.ml",
        coefficients=COEFFICIENTS,
        intercepts=[0.1, 0.0, -0.1],
        post_transform="LOGISTIC",
        **{name: value for name, value in named.items() if value},
    )


def normalizer() -> onnx.NodeProto:
    return helper.make_node("Normalizer", ["raw"], ["scores"], domain="ai.onnx.ml", norm="L1")


def graph_of(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[onnx.ValueInfoProto], weights: Sequence[onnx.TensorProto] = ()
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", [tensor("x", shape=["N", 4])], outputs, weights)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def classifier(*after: onnx.NodeProto, outputs: Sequence[onnx.ValueInfoProto] = (), **labels: Any) -> onnx.ModelProto:
    """As converters make one: a class, and a list of a dictionary per row; `after` in place of the ZipMap."""
    labels = labels or LABELS
    kind = STRING if "classlabels_strings" in labels else INT64
    nodes = [linear_classifier(labels), normalizer(), *(after or [zipmap(**labels)])]
    return graph_of(nodes, [tensor("label", kind, ["N"]), *(outputs or [dictionaries(key=kind)])])


def run(path: Path, x: Any) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, {"x": x}), strict=True))


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]
