"""The rows that came with a model - the user's data, or a factory's example - as the inputs of its ONNX form."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from tidegate.author.columns import EXAMPLE, as_inputs, example_rows
from tidegate.author.describe import interface_of
from tidegate.author.frameworks import Found
from tidegate.author.request import DataSet, PackRequest
from tidegate.author.session import Tensors, as_pool
from tidegate.bundle.manifest import Interface
from tidegate.errors import Invalid


def given_rows(model: onnx.ModelProto, found: Found, request: PackRequest) -> Tensors | None:
    """The data of the request, else the example, by input name; None without either.

    An example of one value throughout, such as zeros, shows shapes only: nothing can be proved on it.
    Raises Invalid where they do not fit: an input that nothing was given for, another number of arrays.
    """
    interface = interface_of(model)
    data = request.data or _example(found.example, interface)
    if data is None or (data.name == EXAMPLE and all(_is_constant(array) for array in data.columns.values())):
        return None
    return as_pool(interface, as_inputs(data, interface))


def _is_constant(array: Any) -> bool:
    return bool(np.all(array == array.flat[0])) if array.size else True


def _example(example: Any, interface: Interface) -> DataSet | None:
    if not isinstance(example, tuple):
        return example_rows(example)
    names = [tensor.name for tensor in interface.inputs]
    if len(names) != len(example):
        raise Invalid(f"{len(example)} arrays for {len(names)} inputs ({', '.join(names)[:200]})", where=EXAMPLE)
    return example_rows(dict(zip(names, example, strict=True)))
