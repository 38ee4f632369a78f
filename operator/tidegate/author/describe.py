"""What the graph itself says of a model: its interface in the protocol's words, and what it needs to run."""

from __future__ import annotations

import onnx
import onnxruntime

from tidegate.author.graph import nodes, real_inputs
from tidegate.bundle.element_types import BY_ONNX_NUMBER
from tidegate.bundle.errors import ModelInvalid
from tidegate.bundle.manifest import Interface, Model, TensorSpec

PLAIN = "export the model with plain tensors"
LISTS = f"{PLAIN} (scikit-learn: zipmap off; a sequence of tensors: joined in the graph by ConcatFromSequence)"


def model_facts(model: onnx.ModelProto, file: str) -> Model:
    """Operator sets, IR version and producer; the minimum is the ONNX Runtime that the proofs ran on."""
    minimum = ".".join(onnxruntime.__version__.split(".")[:2])
    producer = f"{model.producer_name} {model.producer_version}".strip()[:256]
    opset = {entry.domain: entry.version for entry in model.opset_import}
    return Model(file, opset, model.ir_version, minimum, producer)


def interface_of(model: onnx.ModelProto) -> Interface:
    """Inputs and outputs; raises ModelInvalid for what the protocol cannot carry."""
    return Interface(
        inputs=tuple(_spec(value, "input") for value in real_inputs(model.graph)),
        outputs=tuple(_spec(value, "output") for value in model.graph.output),
    )


def _spec(value: onnx.ValueInfoProto, side: str) -> TensorSpec:
    kind = value.type.WhichOneof("value")
    number = value.type.tensor_type.elem_type
    if kind != "tensor_type" or number not in BY_ONNX_NUMBER:
        known = onnx.TensorProto.DataType.Name(number) if kind == "tensor_type" else str(kind).removesuffix("_type")
        raise ModelInvalid(
            f"the {side} '{value.name}' is a {known}, which no request can carry",
            where="model.onnx",
            do=LISTS if kind in ("sequence_type", "map_type") else PLAIN,
        )
    dims = value.type.tensor_type.shape.dim
    shape = tuple(_size(dim, value.name, axis) for axis, dim in enumerate(dims))
    return TensorSpec(value.name, BY_ONNX_NUMBER[number].name, shape)


def _size(dim: onnx.TensorShapeProto.Dimension, name: str, axis: int) -> int | str:
    if dim.WhichOneof("value") == "dim_value" and dim.dim_value >= 0:
        return int(dim.dim_value)
    # Dimensions of one name must agree. Paddle's exporter writes "?" for each that is dynamic: that is no name.
    return dim.dim_param if any(map(str.isalpha, dim.dim_param)) else f"{name}_{axis}"


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """How often each operator occurs."""
    counts: dict[str, int] = {}
    for node in nodes(model):
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))
