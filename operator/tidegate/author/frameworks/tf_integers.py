"""Division of integers that rounds down: tf2onnx's rounds towards zero, and of negative numbers says nothing."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

INTEGERS = (TensorProto.INT32, TensorProto.INT64)


def rounded_down(graph: Any, nodes: Any) -> Any:
    """A step for tf2onnx, before its own: ONNX's remainder has the divisor's sign, as TensorFlow's has."""
    for node in list(nodes):
        if node.type in ("FloorMod", "FloorDiv") and graph.get_dtype(node.input[0]) in INTEGERS:
            _replace(graph, node)
    return graph.get_nodes()


def _replace(graph: Any, node: Any) -> None:
    number, divisor = node.input
    answer = {"outputs": node.output, "shapes": node.output_shapes, "dtypes": node.output_dtypes}
    graph.remove_node(node.name)
    if node.type == "FloorMod":
        graph.make_node("Mod", [number, divisor], name=node.name, **answer)
        return
    # Without its remainder a number is a multiple of the divisor, and nothing has to be rounded.
    rest = graph.make_node("Mod", [number, divisor], op_name_scope=node.name)
    whole = graph.make_node("Sub", [number, rest.output[0]], op_name_scope=node.name)
    graph.make_node("Div", [whole.output[0], divisor], name=node.name, **answer)
