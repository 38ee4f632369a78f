"""Rows as people have them - a matrix, columns, arrays by name - and as the inputs of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tidegate.author.casts import first_rounded, require_kept
from tidegate.author.request import DataSet
from tidegate.author.session import Array, as_pool, as_type
from tidegate.bundle.golden import fits
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.errors import Invalid

EXAMPLE = "example"
DROP = "leave out what is no input: --drop-columns; name what is right: --labels"


def as_inputs(data: DataSet, interface: Interface) -> dict[str, Array]:
    """Arrays by input name; a single input takes one matrix, or all columns side by side.

    Raises Invalid for an input without data, and for columns of another number, shape or kind than the model takes,
    or of values that its type cannot hold.
    """
    tensors = interface.inputs
    for name, tensor in _readers(data, interface):
        require_kept(np.asarray(data.columns[name]), tensor.element_type, f"{data.name}: column '{name}'")
    if len(tensors) == 1 and tensors[0].name not in data.columns:
        return {tensors[0].name: _fitted(side_by_side(data), tensors[0], data)}
    missing = [tensor.name for tensor in tensors if tensor.name not in data.columns]
    if missing:
        known = ", ".join(sorted(data.columns))[:200]
        raise Invalid(f"there is nothing for the input '{missing[0]}': the columns are {known}", where=data.name)
    return {tensor.name: _fitted(np.asarray(data.columns[tensor.name]), tensor, data) for tensor in tensors}


def rounded(data: DataSet, interface: Interface) -> Iterator[str]:
    """A sentence for every column of whole numbers that the model's floats do not hold, such as numbers of accounts."""
    for name, tensor in _readers(data, interface):
        if found := first_rounded(np.asarray(data.columns[name]), tensor.element_type):
            yield (
                f"column '{name}' holds whole numbers that {tensor.element_type} does not: "
                f"{found.value} becomes {found.becomes}; leave it out if it only names rows (--drop-columns)"
            )


def _readers(data: DataSet, interface: Interface) -> Iterator[tuple[str, TensorSpec]]:
    """The columns that the model reads, each with the input that it is for, or is a part of."""
    by_name = {tensor.name: tensor for tensor in interface.inputs}
    whole = interface.inputs[0] if len(by_name) == 1 and not by_name.keys() & data.columns.keys() else None
    for name in data.columns:
        if tensor := by_name.get(name, whole):
            yield name, tensor


def as_rows(data: DataSet, interface: Interface) -> dict[str, Array]:
    """The same as a pool of this model's inputs: one row of it is what one request takes."""
    return as_pool(interface, as_inputs(data, interface))


def in_order(data: DataSet, names: Sequence[str]) -> DataSet:
    """The columns as a model knows them that has their names and sees only their numbers.

    Nothing is known where the model has no names or the data are one matrix.  Raises Invalid for other columns.
    """
    called = {_word(name): name for name in data.columns}
    wanted = [_word(name) for name in names]
    if len(data.columns) == 1 or not names or list(called) == wanted:
        return data
    if others := sorted(called.keys() ^ set(wanted)):
        raise Invalid(
            f"the model was trained on the columns {', '.join(names)[:200]}: '{called.get(others[0], others[0])}' is "
            f"{'none of them' if others[0] in called else 'not in the data'}",
            where=data.name,
            do=DROP,
        )
    if data.published is not None:
        raise Invalid(
            "the columns stand in another order than the model was trained on",
            where=data.name,
            do=f"bring them into its order for --hash-columns: {', '.join(names)[:200]}",
        )
    return replace(data, columns={called[name]: data.columns[called[name]] for name in wanted})


def _word(name: str) -> str:
    """As LightGBM keeps it."""
    return name.replace(" ", "_")


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
