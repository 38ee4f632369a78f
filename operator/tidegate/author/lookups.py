"""Tables that a graph looks integers up in: how many rows each has says which integers an input may hold."""

from __future__ import annotations

import onnx

from tidegate.author.graph import real_inputs

SAME_VALUES = ("Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def table_sizes(graph: onnx.GraphProto) -> dict[str, int]:
    """Per input that picks rows of tables (embeddings): the rows of the smallest of them."""
    rows = {tensor.name: tensor.dims[0] for tensor in graph.initializer if tensor.dims}
    origin = {value.name: value.name for value in real_inputs(graph)}
    found: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in SAME_VALUES and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        if node.op_type == "Gather" and node.input[0] in rows and node.input[1] in origin and not _axis(node):
            name = origin[node.input[1]]
            found[name] = min(rows[node.input[0]], found.get(name, rows[node.input[0]]))
    return found


def _axis(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
