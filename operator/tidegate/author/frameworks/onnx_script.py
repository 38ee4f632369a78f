"""A function written in ONNX Script: it is a graph already, once its arguments and results have types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from tidegate.author.columns import as_inputs, example_rows
from tidegate.author.describe import interface_of
from tidegate.author.extras import need
from tidegate.author.frameworks import ConversionFailed, Converted, Found
from tidegate.author.request import PackRequest
from tidegate.author.session import Array, Tensors
from tidegate.errors import Invalid

TYPES = "write its type and sizes: def function(x: FLOAT['batch', 4]) -> FLOAT['batch', 4]"


@dataclass(frozen=True, slots=True)
class Original:
    """The function as Python runs it, operator by operator."""

    function: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    framework: str = "ONNX Script"

    def answers(self, inputs: Tensors) -> Mapping[str, Array]:
        """What the function returns, by output name."""
        found = self.function(*(np.asarray(inputs[name]) for name in self.inputs))
        arrays = found if isinstance(found, tuple | list) else (found,)
        return {name: np.asarray(array) for name, array in zip(self.outputs, arrays, strict=True)}


def convert(found: Found, request: PackRequest) -> Converted:
    """The function's graph; raises Invalid for an argument or result without a type."""
    need("onnxscript", extra="onnxscript")
    where = found.value.name
    try:
        model = found.value.to_model_proto()
    except Exception as error:
        raise ConversionFailed(f"it is no graph: {str(error)[:300]}", where=where, do=TYPES) from error
    assert isinstance(model, onnx.ModelProto)
    for value in (*model.graph.input, *model.graph.output):
        if not value.type.tensor_type.HasField("shape"):
            raise Invalid(f"'{value.name}' has no type", where=where, do=TYPES)
    interface = interface_of(model)
    inputs, outputs = (tuple(tensor.name for tensor in side) for side in (interface.inputs, interface.outputs))
    data = request.data or example_rows(found.example)
    return Converted(
        model,
        Original(found.value, inputs, outputs),
        data=as_inputs(data, interface) if data else None,
        packages=("onnxscript",),
    )
