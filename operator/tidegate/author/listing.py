"""Every tensor of a bundle's graph by name: where it can be cut, and which weights it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx

from tidegate.author.graph import initializers, real_inputs
from tidegate.bundle.element_types import BY_ONNX_NUMBER

INPUT, WEIGHT, UNKNOWN = "input", "weight", "?"


@dataclass(frozen=True, slots=True)
class Listed:
    """One tensor; `made_by` is an operator, or says that it is an input or a weight."""

    name: str
    made_by: str
    kind: str  # as `FP32 [batch, 64]`; "?" where only running the model would tell


def listed_tensors(model: onnx.ModelProto) -> Iterator[Listed]:
    """Inputs, then what each node makes in the order of the graph, then the weights."""
    known = _declared(model)
    for value in real_inputs(model.graph):
        yield Listed(value.name, INPUT, known.get(value.name, UNKNOWN))
    for node in model.graph.node:
        for name in filter(None, node.output):
            yield Listed(name, node.op_type, known.get(name, UNKNOWN))
    for tensor in initializers(model):
        yield Listed(tensor.name, WEIGHT, f"{_type(tensor.data_type)} {list(tensor.dims)}")


def _declared(model: onnx.ModelProto) -> dict[str, str]:
    """Types and shapes that are declared or follow by ONNX' own rules; of other operators nothing follows."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [value for value in (*graph.input, *graph.value_info, *graph.output) if value.type.HasField("tensor_type")]
    return {value.name: f"{_type(value.type.tensor_type.elem_type)} {_shape(value)}" for value in values}


def _shape(value: onnx.ValueInfoProto) -> str:
    if not value.type.tensor_type.HasField("shape"):
        return UNKNOWN
    dims = value.type.tensor_type.shape.dim
    sizes = (str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or UNKNOWN for dim in dims)
    return f"[{', '.join(sizes)}]"


def _type(number: int) -> str:
    row = BY_ONNX_NUMBER.get(number)
    return row.name if row else onnx.TensorProto.DataType.Name(number)
