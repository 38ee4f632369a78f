"""Looking at an ONNX graph without running it: its real inputs, every tensor in it, and names for what has none."""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx

BATCH = "batch"
COUNTED = re.compile(r"(UU|cdistdf?_)(\d+)")  # names that skl2onnx counts up for as long as its process lives

# Types that hold what was learnt.  Integers of 32 bits and more are shapes, axes and indices.
WEIGHT_TYPES = frozenset(
    onnx.TensorProto.DataType.Value(name)
    for name in (
        *("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "UINT8", "INT4", "UINT4"),
        *("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"),
    )
)


def real_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """What a caller must give: the graph's inputs without the defaults that old exporters list among them."""
    defaults = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in defaults]


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph inside its nodes (the bodies of If, Loop, Scan)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from graphs(inner)


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node: of the graph, of the graphs inside it, of the model's own functions."""
    for graph in graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def attribute_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Tensors that sit in attributes, such as the value of a Constant."""
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors


def initializers(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """The weights of the graph and of the graphs inside it."""
    for graph in graphs(model.graph):
        yield from graph.initializer


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether any of it computes with few bits."""
    return any(node.op_type.endswith(("quantizeLinear", "QuantizeLinear", "Integer")) for node in nodes(model))


def tidy(model: onnx.ModelProto) -> None:
    """Mend what converters leave: an operator set listed twice, a first dimension without a name."""
    newest: dict[str, int] = {}
    for opset in model.opset_import:
        newest[opset.domain] = max(newest.get(opset.domain, 0), opset.version)
    del model.opset_import[:]
    for domain, version in newest.items():
        model.opset_import.append(onnx.helper.make_opsetid(domain, version))
    for value in (*real_inputs(model.graph), *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].WhichOneof("value"):
            dims[0].dim_param = BATCH


def renumber(model: onnx.ModelProto) -> None:
    """Count the converter's running numbers from 0, so that the same model converted twice is the same bytes."""
    known: dict[str, str] = {}

    def again(match: re.Match[str]) -> str:
        return known.setdefault(match[0], f"{match[1]}{len(known):03d}")

    for graph in graphs(model.graph):
        for node in graph.node:
            node.name = COUNTED.sub(again, node.name)
            node.input[:] = [COUNTED.sub(again, name) for name in node.input]
            node.output[:] = [COUNTED.sub(again, name) for name in node.output]
        for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
            named.name = COUNTED.sub(again, named.name)
