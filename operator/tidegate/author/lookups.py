"""Tables that a graph looks integers up in: their rows, or their keys, say which integers an input may hold."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from tidegate.author.graph import real_inputs

LARGEST = 1 << 63
OFTEN = 32  # so many keys for every time that each of four other integers is drawn
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


def table_keys(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Per input whose integers are looked up by value: what to draw from, the keys and integers that are none of them.

    Those are left out where the table has -1 for them and nothing asks for -1: so Keras says that they must not come,
    and TensorFlow fails.  Where they belong into buckets the graph compares with it.
    """
    origin = {value.name: value.name for value in real_inputs(graph)}
    asked = _asked_for(-1, graph)
    found: dict[str, list[int]] = {}
    for node in graph.node:
        if node.op_type in SAME_VALUES and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        if node.op_type == "LabelEncoder" and node.input[0] in origin:
            drawn = _drawn(node, none_is_asked_for=node.output[0] in asked)
            if drawn:
                found.setdefault(origin[node.input[0]], []).extend(drawn)
    return found


def _asked_for(number: int, graph: onnx.GraphProto) -> set[str]:
    """Tensors that are compared with this number."""
    single = [tensor for tensor in graph.initializer if tensor.dims in ([], [1])]
    constants = {tensor.name for tensor in single if numpy_helper.to_array(tensor).item() == number}
    found: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type == "Equal" and constants & set(node.input):
            found.update(node.input)
        elif node.op_type in SAME_VALUES and node.output[0] in found:
            found.add(node.input[0])
    return found


def _drawn(encoder: onnx.NodeProto, *, none_is_asked_for: bool) -> list[int]:
    attributes = {attribute.name: attribute for attribute in encoder.attribute}
    if "keys_int64s" not in attributes:
        return []
    keys = list(attributes["keys_int64s"].ints)
    is_none = "default_int64" not in attributes or attributes["default_int64"].i == -1
    if is_none and "values_int64s" in attributes and not none_is_asked_for:
        return keys
    beside = (0, -1, min(keys, default=0) - 1, max(keys, default=0) + 1)  # 0 and -1 often mean something of their own
    others = [number for number in beside if number not in keys and abs(number) < LARGEST]
    return [*keys, *others * max(1, len(keys) // OFTEN)]


def _axis(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
