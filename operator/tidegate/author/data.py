"""Reading rows to measure a model on: an npz of arrays, or a CSV with a header; labels beside them or in a column."""

from __future__ import annotations

import csv
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tidegate.author.request import DataSet
from tidegate.author.session import Array
from tidegate.errors import Invalid

MAX_BYTES = 4 << 30
MATRIX = "X"


def read_data(path: Path, labels: str = "", name: str = "") -> DataSet:
    """The data in `path`; `labels` is the array or column that holds what is right, or a file of its own."""
    try:
        return _data_set(path, labels, name)
    except OSError as error:
        raise Invalid(f"cannot be read: {error.strerror}", where=str(error.filename or path)) from None


def _data_set(path: Path, labels: str, name: str) -> DataSet:
    columns = dict(_read(path))
    right = _labels(columns, labels, path) if labels else None
    rows = {key: len(array) for key, array in columns.items()}
    if len(set(rows.values())) > 1:
        raise Invalid(f"the arrays have different numbers of rows: {rows}", where=str(path))
    count = next(iter(rows.values()), 0)
    if not count:
        raise Invalid("there are no rows in it", where=str(path))
    if right is not None and len(right) != count:
        raise Invalid(f"{len(right)} labels for {count} rows", where=str(path), do="give one label per row")
    return DataSet(name or path.name, columns, right, _digest(path))


def _labels(columns: dict[str, Array], labels: str, path: Path) -> Array:
    if labels in columns:
        return columns.pop(labels)
    file = Path(labels)
    if not file.is_file():
        raise Invalid(
            f"there are no labels '{labels}': the columns are {', '.join(sorted(columns))[:200]}", where=str(path)
        )
    if file.suffix == ".npy":
        return _numpy(file)[MATRIX]
    found = _read(file)
    if len(found) != 1:
        raise Invalid(f"a file of labels holds one column, this has {len(found)}", where=str(file))
    return next(iter(found.values()))


def _read(path: Path) -> Mapping[str, Array]:
    if not path.is_file():
        raise Invalid("no such file", where=str(path))
    if path.stat().st_size > MAX_BYTES:
        raise Invalid(f"more than {MAX_BYTES} bytes", where=str(path), do="measure on fewer rows")
    with path.open("rb") as file:
        start = file.read(6)
    return _numpy(path) if start.startswith((b"PK", b"\x93NUMPY")) else _csv(path)


def _numpy(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            arrays = {MATRIX: found} if isinstance(found, np.ndarray) else dict(found)
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Invalid(
            f"cannot be read: {str(error)[:120]}",
            where=str(path),
            do="save plain numbers or fixed-width texts, no Python objects",
        ) from None
    for name, array in arrays.items():
        if not array.ndim:
            raise Invalid(f"the array '{name}' is a single value", where=str(path))
    return {name: _as_text(array) for name, array in arrays.items()}


def _csv(path: Path) -> dict[str, Array]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
    except (ValueError, csv.Error) as error:
        raise Invalid(f"not a CSV with a header: {str(error)[:120]}", where=str(path)) from None
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise Invalid(f"{len(row)} fields, the header has {len(header)}", where=f"{path}:{number}")
    return {name: _column([row[at] for row in rows]) for at, name in enumerate(header)}


def _column(cells: list[str]) -> Array:
    """Integers if all are, else numbers, else texts."""
    for kind in (np.int64, np.float64):
        try:
            return np.array(cells).astype(kind)
        except (ValueError, OverflowError):
            continue
    return np.array(cells, dtype=object)


def _as_text(array: Array) -> Array:
    return array.astype(str).astype(object) if array.dtype.kind in "US" else array


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
