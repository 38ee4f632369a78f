"""What tf2onnx does not do with integers: division that rounds down, of negative ones too, and places as 0 and 1.

Steps for tf2onnx, before its own: each puts nodes of ONNX in the place of TensorFlow's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

INTEGERS = (TensorProto.INT32, TensorProto.INT64)


def rounded_down(graph: Any, nodes: Any) -> Any:
    """`//` and `%`, which tf2onnx rounds towards zero: ONNX's remainder has the divisor's sign, as TensorFlow's has."""
    for node in list(nodes):
        if node.type in ("FloorMod", "FloorDiv") and graph.get_dtype(node.input[0]) in INTEGERS:
            _divide(graph, node)
    return graph.get_nodes()


def _divide(graph: Any, node: Any) -> None:
    number, divisor = node.input
    answer = _answer_of(node)
    graph.remove_node(node.name)
    if node.type == "FloorMod":
        graph.make_node("Mod", [number, divisor], **answer)
        return
    # Without its remainder a number is a multiple of the divisor, and nothing has to be rounded.
    rest = graph.make_node("Mod", [number, divisor], op_name_scope=node.name)
    whole = graph.make_node("Sub", [number, rest.output[0]], op_name_scope=node.name)
    graph.make_node("Div", [whole.output[0], divisor], **answer)


def one_hot(graph: Any, nodes: Any) -> Any:
    """Places as rows with one number in them, for which tf2onnx wants numbers behind the point or one dimension.

    ONNX's own OneHot counts negative places from the end, where TensorFlow has a row without any.
    """
    for node in list(nodes):
        if node.type == "OneHot" and _of_integers(graph, node):
            _spread(graph, node)
    return graph.get_nodes()


def _of_integers(graph: Any, node: Any) -> bool:
    last = node.get_attr_value("axis", -1) == -1
    return last and node.inputs[1].is_const() and all(graph.get_dtype(node.input[at]) in INTEGERS for at in (0, 2))


def _spread(graph: Any, node: Any) -> None:
    place, _, on, off = node.input
    kind = np.int64 if graph.get_dtype(place) == TensorProto.INT64 else np.int32
    places = graph.make_const(f"{node.name}/places", np.arange(int(node.inputs[1].get_tensor_value()), dtype=kind))
    last = graph.make_const(f"{node.name}/last", np.array([-1], np.int64))
    answer = _answer_of(node)
    graph.remove_node(node.name)
    wide = graph.make_node("Unsqueeze", [place, last.output[0]], op_name_scope=node.name)
    here = graph.make_node("Equal", [wide.output[0], places.output[0]], op_name_scope=node.name)
    graph.make_node("Where", [here.output[0], on, off], **answer)


def _answer_of(node: Any) -> dict[str, Any]:
    """Name and outputs of a node, for the one that takes its place."""
    return {
        "name": node.name,
        "outputs": list(node.output),
        "shapes": list(node.output_shapes),
        "dtypes": list(node.output_dtypes),
    }
