"""Reading tables: an npz or npy of arrays, a CSV with a header, a parquet file.  All of them give columns by name."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.author.extras import need
from tidegate.author.session import Array
from tidegate.bundle.numpy_files import ALONE, read_arrays
from tidegate.errors import Invalid

MAX_BYTES = 4 << 30
MATRIX = ALONE
NUMPY, PARQUET = (b"PK", b"\x93NUMPY"), b"PAR1"


def read_table(path: Path, dropped: Sequence[str] = ()) -> Mapping[str, Array]:
    """The columns of this file, whichever of the formats its content shows.

    Of those that will be dropped only the name counts: they may hold what no model takes.
    """
    if not path.is_file():
        raise Invalid("no such file", where=str(path))
    if path.stat().st_size > MAX_BYTES:
        raise Invalid(f"more than {MAX_BYTES} bytes", where=str(path), do="measure on fewer rows")
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(NUMPY):
        return read_numpy(path)
    return _parquet(path, dropped) if start.startswith(PARQUET) else _csv(path)


def read_numpy(path: Path) -> dict[str, Array]:
    """The arrays of an npz, or the one of an npy as `X`."""
    try:
        arrays = read_arrays(path, MAX_BYTES)
    except ValueError as error:
        raise Invalid(
            f"cannot be read: {error}",
            where=str(path),
            do="save plain numbers or fixed-width texts, no Python objects",
        ) from None
    for name, array in arrays.items():
        if not array.ndim:
            raise Invalid(f"the array '{name}' is a single value", where=str(path))
    return {
        name: array.astype(str).astype(object) if array.dtype.kind in "US" else array for name, array in arrays.items()
    }


def _csv(path: Path) -> dict[str, Array]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
    except (ValueError, csv.Error) as error:
        raise Invalid(f"not a CSV with a header: {str(error)[:120]}", where=str(path)) from None
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise Invalid(f"{len(row)} fields, the header has {len(header)}", where=f"{path}:{number}")
    return {name: _typed([row[at] for row in rows]) for at, name in enumerate(header)}


def _typed(cells: list[str]) -> Array:
    """Integers if all are, else numbers, else texts."""
    for kind in (np.int64, np.float64):
        try:
            return np.array(cells).astype(kind)
        except (ValueError, OverflowError):
            continue
    return np.array(cells, dtype=object)


def _parquet(path: Path, dropped: Sequence[str]) -> dict[str, Array]:
    need("pyarrow", extra="parquet")
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path).read()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        first_line = str(error).partition("\n")[0]
        raise Invalid(
            f"cannot be read as parquet: {first_line[:160]}", where=str(path), do="write it again: it is damaged"
        ) from None
    repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if repeated:
        raise Invalid(f"two columns are called '{repeated[0]}'", where=str(path))
    unread = np.empty(table.num_rows, dtype=object)
    return {name: unread if name in dropped else _arrow(name, table.column(name), path) for name in table.column_names}


def _arrow(name: str, column: Any, path: Path) -> Array:
    """A column as numpy has it: numbers, texts as `str`, lists of one length as a matrix."""
    from pyarrow import types

    kind, where = column.type, f"{path}: column '{name}'"
    if types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    numbers = types.is_floating(kind)
    if column.null_count and not numbers:
        raise Invalid(f"{column.null_count} values are missing", where=where, do="fill them, or leave the rows out")
    if numbers or types.is_integer(kind) or types.is_boolean(kind):
        return np.asarray(column.to_numpy())
    if types.is_string(kind) or types.is_large_string(kind):
        return np.array(column.to_pylist(), dtype=object)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _matrix(column.to_pylist(), where)
    raise Invalid(
        f"values of the type {kind} are not read", where=where, do="store numbers or texts, or drop the column"
    )


def _matrix(rows: list[list[object]], where: str) -> Array:
    try:
        found = np.array(rows)
    except ValueError:
        found = np.array(None)
    if found.dtype.kind not in "biuf":
        raise Invalid("its lists are no numbers, or not of one length", where=where)
    return found
