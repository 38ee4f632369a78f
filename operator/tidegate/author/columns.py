"""Rows as people have them - a matrix, columns, arrays by name - and as the inputs of a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidegate.author.request import DataSet
from tidegate.author.session import Array, as_type
from tidegate.bundle.manifest import Interface
from tidegate.errors import Invalid

EXAMPLE = "example"


def as_inputs(data: DataSet, interface: Interface) -> dict[str, Array]:
    """Arrays by input name; a single input takes one matrix, or all columns side by side."""
    tensors = interface.inputs
    if len(tensors) == 1 and tensors[0].name not in data.columns:
        columns = list(data.columns.values())
        joined = columns[0] if len(columns) == 1 else np.stack([column.reshape(-1) for column in columns], axis=1)
        return {tensors[0].name: as_type(joined, tensors[0].element_type)}
    missing = [tensor.name for tensor in tensors if tensor.name not in data.columns]
    if missing:
        raise Invalid(f"there is nothing for the input '{missing[0]}'", where=data.name)
    return {tensor.name: as_type(data.columns[tensor.name], tensor.element_type) for tensor in tensors}


def example_rows(example: Any) -> DataSet | None:
    """The rows that a factory gave beside its model: an array, or columns by name (a DataFrame too)."""
    if example is None:
        return None
    columns = example if hasattr(example, "keys") else {"X": example}
    arrays = {str(name): np.asarray(columns[name]) for name in columns.keys()}  # noqa: SIM118 - a DataFrame too
    return DataSet(EXAMPLE, arrays)
