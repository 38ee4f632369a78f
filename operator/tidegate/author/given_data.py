"""Rows that are in memory already, as a notebook has them: an array, arrays or columns by name, a DataFrame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.author.data import AS_IT_IS, Reading, prepared, read_data
from tidegate.author.pseudonyms import digest_of_arrays, key_of_arrays
from tidegate.author.request import DataSet
from tidegate.author.session import Array
from tidegate.author.tables import MATRIX
from tidegate.errors import Invalid, UsageError

GIVEN = "data"


def data_set(data: Any, labels: Any = None, reading: Reading = AS_IT_IS) -> DataSet | None:
    """Whatever was given as a data set: a path, a DataSet, an array, columns by name; None for nothing.

    `labels` is the name of a column or a file, or an array with what is right for each row.
    """
    if data is None:
        if labels is not None:
            raise UsageError("labels of what?", where="labels", do="give the rows as data=")
        return None
    by_name = labels if isinstance(labels, str) else ""
    right = None if labels is None or by_name else np.asarray(labels)
    if isinstance(data, str | Path):
        read = read_data(Path(data), by_name, reading=reading)
        return read if right is None else _checked(replace(read, labels=right))
    if isinstance(data, DataSet):
        return data if right is None else _checked(replace(data, labels=right))
    columns = _columns(data, reading.dropped)
    if by_name:
        if by_name not in columns:
            raise Invalid(f"there are no labels '{by_name}': the columns are {', '.join(sorted(columns))[:200]}")
        right = columns.pop(by_name)
    read = DataSet(GIVEN, columns, right, f"sha256:{digest_of_arrays(columns).hexdigest()}")
    return prepared(read, reading, where=GIVEN, key=lambda: key_of_arrays(columns))


def _checked(read: DataSet) -> DataSet:
    """With labels of another source: one per row, none missing."""
    checked = prepared(read, AS_IT_IS, where=read.name, key=bytes)
    return replace(checked, published=read.published)


def _columns(data: Any, dropped: Sequence[str]) -> dict[str, Array]:
    """By name; of a DataFrame its columns, of an array the only one.  What will be dropped may hold anything."""
    named = data if isinstance(data, Mapping) or hasattr(data, "keys") else {MATRIX: data}
    columns = {str(name): np.asarray(named[name]) for name in named.keys()}  # noqa: SIM118 - a DataFrame too
    for name, array in ((name, array) for name, array in columns.items() if name not in dropped):
        if not array.ndim:
            raise Invalid(f"'{name}' is a single value", where=GIVEN, do="give an array with a row per example")
        if array.dtype.kind not in "biufOUS":
            raise Invalid(f"values of the type {array.dtype} are not read", where=f"column '{name}'", do="make numbers")
        if array.dtype.kind == "O" and not all(isinstance(value, str) for value in array.reshape(-1).tolist()):
            raise Invalid(
                f"the column '{name}' holds texts beside something else, or values are missing",
                where=GIVEN,
                do="fill what is missing; make all texts, or all numbers",
            )
    return {
        name: array.astype(str).astype(object) if array.dtype.kind in "US" else array for name, array in columns.items()
    }
