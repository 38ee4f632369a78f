"""Outputs that rounding alone may tip over to another answer, because a step function lies before them.

A tree's threshold, the highest of several, a rounding: on both sides of a step a graph in 32 bits is right, by however
much the answers differ.  Where nothing of the kind lies before an output, rounding cannot explain a wrong row.
"""

from __future__ import annotations

from collections.abc import Set

import onnx

from tidegate.author.derive.cutting import takes
from tidegate.author.graph import graphs, real_inputs

FEW = 0.01  # share of the rows that may tip over by rounding to 32 bits; more is another model
STEPS = frozenset(
    {
        *("ArgMax", "ArgMin", "Hardmax", "TopK", "Unique", "NonZero", "NonMaxSuppression", "Binarizer"),
        *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Sign", "Floor", "Ceil", "Round", "Mod"),
        *("QuantizeLinear", "DynamicQuantizeLinear", "TreeEnsemble", "TreeEnsembleClassifier"),
        "TreeEnsembleRegressor",
    }
)
CLASSIFIERS = frozenset({"LinearClassifier", "SVMClassifier"})  # a class first, then scores without a step
SIZES = frozenset({"Shape", "Size"})  # depend on no value
WHOLE = frozenset(
    onnx.TensorProto.DataType.Value(name)
    for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL")
)


def explains(model: onnx.ModelProto, output: str, wrong: int, total: int) -> bool:
    """Whether rounding explains that so many of the rows differ in this output: none, or few behind a step."""
    return not wrong or (wrong <= FEW * total and output in may_tip(model))


def may_tip(model: onnx.ModelProto) -> Set[str]:
    """The names of such outputs."""
    stepped = {function.name for function in model.functions if any(map(_is_step, function.node))}
    whole = {value.name for value in real_inputs(model.graph) if value.type.tensor_type.elem_type in WHOLE}
    depending = {value.name for value in real_inputs(model.graph)}
    tipping: set[str] = set()
    for node in model.graph.node:  # in the order in which they compute
        used = set(takes(node))
        if node.op_type in SIZES or not used & depending:
            continue
        depending.update(node.output)
        if used & tipping or node.op_type in stepped or (_is_step(node) and not _is_exact(node, whole)):
            tipping.update(node.output)
        elif node.op_type in CLASSIFIERS:
            tipping.add(node.output[0])
    return tipping & {value.name for value in model.graph.output}


def _is_step(node: onnx.NodeProto) -> bool:
    """Whether it is one, or a branch or loop with one in it."""
    inner = (graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs))
    within = any(_is_step(one) for body in inner for graph in graphs(body) for one in graph.node)
    return within or node.op_type in STEPS or _to_whole(node)


def _to_whole(node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and any(part.i in WHOLE for part in node.attribute if part.name == "to")


def _is_exact(node: onnx.NodeProto, whole: Set[str]) -> bool:
    """Whether it only looks at whole numbers of the request, such as a mask, which nothing has rounded."""
    return bool(node.input) and node.input[0] in whole
