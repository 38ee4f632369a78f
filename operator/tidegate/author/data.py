"""Rows to measure a model on: a table or a folder of images, what is right for each row, what may be published."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tidegate.author.images import ImageForm, read_images
from tidegate.author.pseudonyms import hashed, key_of_file, without
from tidegate.author.request import DataSet
from tidegate.author.session import Array
from tidegate.author.tables import MATRIX, read_numpy, read_table
from tidegate.errors import Invalid

LABEL_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Reading:
    """How data is read: `dropped` columns are not used at all, `hashed` ones only hashed where rows are published."""

    dropped: tuple[str, ...] = ()
    hashed: tuple[str, ...] = ()
    images: ImageForm | None = None


AS_IT_IS = Reading()


def read_data(path: Path, labels: str = "", name: str = "", reading: Reading = AS_IT_IS) -> DataSet:
    """The data in `path`; `labels` is the array or column that holds what is right, or a file of its own.

    A folder is one of images, by class; `labels` then is a file that names the classes in the order of their numbers.
    """
    try:
        if path.is_dir():
            return _images(path, labels, name, reading)
        if reading.images is not None:
            raise Invalid("--image-…: this is no folder of images", where=str(path))
        return _table(path, labels, name, reading)
    except OSError as error:
        raise Invalid(f"cannot be read: {error.strerror}", where=str(error.filename or path)) from None


def _table(path: Path, labels: str, name: str, reading: Reading) -> DataSet:
    columns = dict(read_table(path, reading.dropped))
    right = _labels(columns, labels, path) if labels else None
    read = DataSet(name or path.name, columns, right, _digest(path))
    return prepared(read, reading, where=str(path), key=lambda: key_of_file(path))


def prepared(read: DataSet, reading: Reading, *, where: str, key: Callable[[], bytes]) -> DataSet:
    """Rows of a table as they are used: checked, without what is dropped, and hashed for publishing by `key`.

    Raises Invalid for no rows, arrays of different lengths, missing labels, and names that are no columns.
    """
    columns = without(read.columns, reading.dropped, where)
    rows = {name: len(array) for name, array in columns.items()}
    if len(set(rows.values())) > 1:
        raise Invalid(f"the arrays have different numbers of rows: {rows}", where=where)
    count = next(iter(rows.values()), 0)
    if not count:
        raise Invalid("there are no rows in it", where=where)
    if read.labels is not None and len(read.labels) != count:
        raise Invalid(f"{len(read.labels)} labels for {count} rows", where=where, do="give one label per row")
    if read.labels is not None:
        _require_all(read.labels, where)
    published = hashed(columns, reading.hashed, key(), where) if reading.hashed else None
    return replace(read, columns=columns, published=published)


def _require_all(right: Array, where: str) -> None:
    missing = np.isnan(right) if right.dtype.kind == "f" else right == "" if right.dtype.kind == "O" else np.zeros(1)
    if missing.any():
        first = int(missing.reshape(len(right), -1).any(axis=1).argmax()) + 1
        raise Invalid(
            f"{int(missing.sum())} labels are missing, the first in row {first}",
            where=where,
            do="leave rows without a label out",
        )


def _labels(columns: dict[str, Array], labels: str, path: Path) -> Array:
    if labels in columns:
        return columns.pop(labels)
    file = Path(labels)
    if not file.is_file():
        raise Invalid(
            f"there are no labels '{labels}': the columns are {', '.join(sorted(columns))[:200]}", where=str(path)
        )
    if file.suffix == ".npy":
        return read_numpy(file)[MATRIX]
    found = read_table(file)
    if len(found) != 1:
        raise Invalid(f"a file of labels holds one column, this has {len(found)}", where=str(file))
    return next(iter(found.values()))


def _images(path: Path, labels: str, name: str, reading: Reading) -> DataSet:
    if reading.dropped or reading.hashed:
        option = "--drop-columns" if reading.dropped else "--hash-columns"
        raise Invalid(f"{option}: images have no columns", where=str(path))
    found = read_images(path, reading.images or ImageForm(), _class_names(labels))
    return DataSet(
        name or path.resolve().name,
        found.columns(),
        found.labels,
        found.digest,
        preprocessing=found.preprocessing,
        classes=found.classes,
    )


def _class_names(labels: str) -> tuple[str, ...]:
    if not labels:
        return ()
    file = Path(labels)
    if not file.is_file():
        raise Invalid("no such file", where=labels, do="for images, --labels is a file with a class per line")
    if file.stat().st_size > LABEL_BYTES:
        raise Invalid(f"more than {LABEL_BYTES} bytes of names", where=labels)
    try:
        names = tuple(line for line in file.read_text(encoding="utf-8").splitlines() if line)
    except UnicodeDecodeError:
        raise Invalid("it is no text in UTF-8", where=labels) from None
    if len(set(names)) != len(names):
        raise Invalid("a class is named twice", where=labels)
    return names


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
