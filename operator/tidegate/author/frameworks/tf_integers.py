"""What tf2onnx does not do with integers: division that rounds down, of negative ones too, and places as 0 and 1.

Steps for tf2onnx, before its own: each puts nodes of ONNX in the place of TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from tidegate.author.frameworks import ConversionFailed
from tidegate.author.session import Array

TYPES: Mapping[int, Any] = {TensorProto.INT32: np.int32, TensorProto.INT64: np.int64}
INTEGERS = tuple(TYPES)
# What ONNX Runtime's Where chooses between, and in what it carries the rest.
CHOSEN = (*INTEGERS, TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.UINT8, TensorProto.STRING)
CARRIERS = {
    **dict.fromkeys((TensorProto.FLOAT16, TensorProto.BFLOAT16), TensorProto.FLOAT),
    **dict.fromkeys((TensorProto.BOOL, TensorProto.INT8, TensorProto.INT16, TensorProto.UINT16), TensorProto.INT32),
}


def rounded_down(graph: Any, nodes: Any) -> Any:
    """`//` and `%`, which tf2onnx rounds towards zero: ONNX's remainder has the divisor's sign, as TensorFlow's has."""
    for node in list(nodes):
        if node.type in ("FloorMod", "FloorDiv") and graph.get_dtype(node.input[0]) in INTEGERS:
            _divide(graph, node)
    return graph.get_nodes()


def _divide(graph: Any, node: Any) -> None:
    number, divisor = node.input
    kind, answer, step = graph.get_dtype(number), _answer_of(node), _Steps(graph, node.name)
    graph.remove_node(node.name)
    if node.type == "FloorMod":
        graph.make_node("Mod", [number, divisor], **answer)
        return
    # Towards zero, and one less where that was up.  Nothing here leaves the type, as `number - rest` would at its ends.
    zero = step.constant("zero", np.array(0, TYPES[kind]))
    is_whole = step("Equal", step("Mod", number, divisor), zero)
    is_negative = step("Xor", step("Less", number, zero), step("Less", divisor, zero))
    above = step("Cast", step("And", step("Not", is_whole), is_negative), to=kind)
    graph.make_node("Sub", [step("Div", number, divisor), above], **answer)


def one_hot(graph: Any, nodes: Any) -> Any:
    """Places as rows with one number in them, and rows without any for places that there are not, such as -1.

    ONNX's own OneHot counts negative places from the end; tf2onnx puts that or a table in TensorFlow's place.
    """
    for node in list(nodes):
        if node.type == "OneHot":
            _spread(graph, node)
    return graph.get_nodes()


def _spread(graph: Any, node: Any) -> None:
    place, _, on, off = node.input
    wanted, answer, step = graph.get_dtype(on), _answer_of(node), _Steps(graph, node.name)
    kind = graph.get_dtype(place)
    if kind not in INTEGERS:
        kind = TensorProto.INT32
        place = step("Cast", place, to=kind)
    axis, rank = node.get_attr_value("axis", -1), graph.get_rank(node.input[0])
    if wanted not in (*CHOSEN, *CARRIERS) or (axis != -1 and rank is None):
        raise ConversionFailed(
            f"there is no ONNX form for tf.one_hot in node '{node.name}': its numbers are of a rare type, or the "
            "dimensions before its axis are not known",
            where="the model",
            do="give tf.one_hot numbers such as float32, and an input of a known number of dimensions",
        )
    places = _places(graph, node, kind, 0 if axis == -1 else rank - axis)
    graph.remove_node(node.name)
    here = step("Equal", step("Unsqueeze", place, step.constant("axis", np.array([axis], np.int64))), places)
    if wanted in CHOSEN:
        graph.make_node("Where", [here, on, off], **answer)
        return
    carried = [step("Cast", number, to=CARRIERS[wanted]) for number in (on, off)]
    graph.make_node("Cast", [step("Where", here, *carried)], attr={"to": wanted}, **answer)


def _places(graph: Any, node: Any, kind: int, behind: int) -> str:
    """All places along the new axis, with so many dimensions behind it."""
    step, depth = _Steps(graph, node.name), node.inputs[1]
    if depth.is_const():
        known = np.arange(int(depth.get_tensor_value()), dtype=TYPES[kind])
        return step.constant("places", known.reshape(-1, *[1] * behind))
    ends = [step.constant(name, np.array(value, TYPES[kind])) for name, value in (("first", 0), ("next", 1))]
    counted = step("Range", ends[0], step("Cast", node.input[1], to=kind), ends[1])
    return step("Unsqueeze", counted, step.constant("behind", np.arange(1, behind + 1))) if behind else counted


@dataclass(frozen=True, slots=True)
class _Steps:
    """Nodes on the way to what `name` answered; each call gives the name of its tensor."""

    graph: Any
    name: str

    def __call__(self, operation: str, *inputs: str, **attributes: int) -> str:
        made = self.graph.make_node(operation, list(inputs), attr=attributes, op_name_scope=self.name)
        return str(made.output[0])

    def constant(self, name: str, value: Array) -> str:
        return str(self.graph.make_const(f"{self.name}/{name}", value).output[0])


def _answer_of(node: Any) -> dict[str, Any]:
    """Name and outputs of a node, for the one that takes its place."""
    return {
        "name": node.name,
        "outputs": list(node.output),
        "shapes": list(node.output_shapes),
        "dtypes": list(node.output_dtypes),
    }
