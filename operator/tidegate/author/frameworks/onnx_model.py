"""ONNX as it is: a file, its weights inside or beside it, or a model that a factory made."""

from __future__ import annotations

import onnx

from tidegate.author.columns import as_inputs
from tidegate.author.describe import interface_of
from tidegate.author.frameworks import Converted, Found
from tidegate.author.request import PackRequest
from tidegate.author.weights import load_graph


def convert(found: Found, request: PackRequest) -> Converted:
    """The same model; only the given data is put into the form of its inputs."""
    model = found.value if found.path is None else load_graph(found.path)
    assert isinstance(model, onnx.ModelProto)
    data = as_inputs(request.data, interface_of(model)) if request.data else None
    return Converted(model, None, weights=found.path.parent if found.path else None, data=data)
