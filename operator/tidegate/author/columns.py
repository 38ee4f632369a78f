"""Rows as people have them - a matrix, columns, arrays by name - and as the inputs of a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidegate.author.request import DataSet
from tidegate.author.session import Array, as_pool, as_type
from tidegate.bundle.golden import fits
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.errors import Invalid

EXAMPLE = "example"
DROP = "leave out what is no input: --drop-columns; name what is right: --labels"


def as_inputs(data: DataSet, interface: Interface) -> dict[str, Array]:
    """Arrays by input name; a single input takes one matrix, or all columns side by side.

    Raises Invalid for an input without data, and for columns of another number, shape or kind than the model takes.
    """
    tensors = interface.inputs
    if len(tensors) == 1 and tensors[0].name not in data.columns:
        return {tensors[0].name: _fitted(side_by_side(data), tensors[0], data)}
    missing = [tensor.name for tensor in tensors if tensor.name not in data.columns]
    if missing:
        known = ", ".join(sorted(data.columns))[:200]
        raise Invalid(f"there is nothing for the input '{missing[0]}': the columns are {known}", where=data.name)
    return {tensor.name: _fitted(np.asarray(data.columns[tensor.name]), tensor, data) for tensor in tensors}


def as_rows(data: DataSet, interface: Interface) -> dict[str, Array]:
    """The same as a pool of this model's inputs: one row of it is what one request takes."""
    return as_pool(interface, as_inputs(data, interface))


def side_by_side(data: DataSet) -> Array:
    """All columns as one matrix; a single one as it is."""
    columns = [np.asarray(column) for column in data.columns.values()]
    if len(columns) == 1:
        return columns[0]
    texts = any(column.dtype.kind in "OUS" for column in columns)
    flat = [column.reshape(len(column), -1) for column in columns]
    return np.concatenate([column.astype(object) for column in flat] if texts else flat, axis=1)


def _fitted(array: Array, tensor: TensorSpec, data: DataSet) -> Array:
    """As the input's type, and in the shape of its rows."""
    where, row = f"{data.name}: the input '{tensor.name}'", array.shape[1:]
    if tensor.element_type != "BYTES" and array.dtype.kind in "OUS":
        raise Invalid(f"it takes {tensor.element_type}, and the data are texts", where=where, do=DROP)
    if row == () and tensor.shape[1:] == (1,):
        array, row = array.reshape(-1, 1), (1,)
    if not (fits(row, tensor.shape[1:]) or fits(row, tensor.shape)):
        do = DROP if len(row) == 1 else "bring the rows into that shape; for images: --image-size, --image-layout"
        raise Invalid(f"it takes rows of {list(tensor.shape[1:])}, the data have {list(row)}", where=where, do=do)
    return as_type(array, tensor.element_type)


def example_rows(example: Any) -> DataSet | None:
    """The rows that a factory gave beside its model: an array, or columns by name (a DataFrame too)."""
    if example is None:
        return None
    columns = example if hasattr(example, "keys") else {"X": example}
    arrays = {str(name): np.asarray(columns[name]) for name in columns.keys()}  # noqa: SIM118 - a DataFrame too
    return DataSet(EXAMPLE, arrays)
