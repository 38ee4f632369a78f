"""Whether numbers stay what they are in the type that a model takes: a cast changes them without a word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from tidegate.author.session import Array, as_type
from tidegate.bundle.element_types import ELEMENT_TYPES, FLOATS
from tidegate.bundle.errors import GoldenInvalid
from tidegate.bundle.golden import MAX_GOLDEN_BYTES
from tidegate.errors import Invalid

TEXTS = "OUS"
MAX_GIVEN = 4 * MAX_GOLDEN_BYTES  # numbers are given in 64 bits that the model may take in 16


@dataclass(frozen=True, slots=True)
class Changed:
    """The first value that a cast changes: its row from 1, and what it becomes where the type has anything near."""

    row: int
    value: Any
    becomes: Any = None


def require_kept(column: Array, element_type: str, where: str) -> None:
    """Raise Invalid for a value that this type does not hold, such as a fraction in whole numbers."""
    if lost := first_lost(column, element_type):
        raise Invalid(
            f"it holds {lost.value} (row {lost.row}), and the model takes {element_type}: {_range(element_type)}",
            where=where,
            do="bring it into that type as it was for the training, or leave it out: --drop-columns",
        )


def as_sample(array: Array, element_type: str, where: str) -> Array:
    """Inputs of a golden sample in this type, in which they say the same; raises GoldenInvalid where they would not.

    Only that floats round fractions is let pass: nobody writes more digits than a model takes in order to keep them.
    Whole numbers of 16 bits for BF16 are its bits, as samples hold them.
    """
    if element_type == "BF16" and array.dtype == np.uint16:
        return np.asarray(array, order="C")
    if (element_type == "BYTES") != (array.dtype.kind in TEXTS):
        raise _other(array, element_type, where)
    changed = first_lost(array, element_type)
    if not changed and array.dtype.kind in "iu":
        changed = first_rounded(array, element_type)
    return _typed(array, element_type, where, changed)


def as_answer(array: Array, element_type: str, where: str) -> Array:
    """The same for outputs: floats may round them, a tolerance says how far, and numbers may stand for their texts."""
    if element_type == "BF16" and array.dtype == np.uint16:
        return np.asarray(array, order="C")
    if element_type != "BYTES" and array.dtype.kind in TEXTS:
        raise _other(array, element_type, where)
    return _typed(array, element_type, where, first_lost(array, element_type))


def _typed(array: Array, element_type: str, where: str, changed: Changed | None) -> Array:
    if not (_is_plain(array) or _is_bfloat16(array)):
        raise _other(array, element_type, where)
    if changed:
        near = "" if changed.becomes is None else f", {changed.becomes} is"
        raise GoldenInvalid(
            f"{changed.value} (row {changed.row}) is no {element_type}{near}",
            where=where,
            do=f"give what the model takes: {_range(element_type)}",
        )
    return as_type(array, element_type)


def _other(array: Array, element_type: str, where: str) -> GoldenInvalid:
    return GoldenInvalid(
        f"it holds {_kind(array)}, and the model has {element_type} there",
        where=where,
        do=f"give what the model takes: {_range(element_type)}",
    )


def first_lost(array: Array, element_type: str) -> Changed | None:
    """The first value that this type cannot hold; fractions that floats round are held, texts are not looked at."""
    array = _widened(array)
    if array.dtype.kind not in "iuf" or element_type == "BYTES":
        return None
    with np.errstate(invalid="ignore"):
        if element_type in FLOATS:
            lost = np.isfinite(array) & ~np.isfinite(_floats(array, element_type))
        elif element_type == "BOOL":
            lost = (array != 0) & (array != 1)
        else:
            given = array.astype(np.float64) if array.dtype.kind == "f" else array
            ends = np.iinfo(ELEMENT_TYPES[element_type].numpy)
            lost = (given < ends.min) | (given > ends.max) | (given.astype(ends.dtype) != given)
    return Changed(_row(lost), array[lost][0]) if lost.any() else None


def first_rounded(array: Array, element_type: str) -> Changed | None:
    """Of whole numbers the first that floats of this type do not hold; None if they hold all."""
    array = _widened(array)
    if element_type not in FLOATS or array.dtype.kind not in "iuf":
        return None
    if array.dtype.kind == "f" and (array.dtype == ELEMENT_TYPES[element_type].numpy or not _whole(array)):
        return None
    floats = _floats(array, element_type)
    lost = np.isfinite(floats) & (floats.astype(np.longdouble) != array.astype(np.longdouble))
    return Changed(_row(lost), int(array[lost][0]), int(floats[lost][0])) if lost.any() else None


def _floats(array: Array, element_type: str) -> Array:
    """What the numbers become in this type of floats."""
    narrow = ml_dtypes.bfloat16 if element_type == "BF16" else np.dtype(ELEMENT_TYPES[element_type].numpy)
    with np.errstate(over="ignore"):
        return np.asarray(array.astype(narrow).astype(np.float64))


def _whole(array: Array) -> bool:
    finite = array[np.isfinite(array)]
    return bool((finite == np.floor(finite)).all())


def _row(marked: Array) -> int:
    return int(np.argmax(marked.reshape(len(marked) if marked.ndim else 1, -1).any(axis=1))) + 1


def _widened(array: Array) -> Array:
    """Numbers of a kind that numpy knows: bfloat16 as floats that hold all of it."""
    return array.astype(np.float32) if _is_bfloat16(array) else array


def _is_plain(array: Array) -> bool:
    return array.dtype.kind in "biuf" + TEXTS


def _is_bfloat16(array: Array) -> bool:
    return bool(array.dtype == ml_dtypes.bfloat16)


def _kind(array: Array) -> str:
    return "texts" if array.dtype.kind in TEXTS else str(array.dtype)


def _range(element_type: str) -> str:
    if element_type == "BYTES":
        return "texts"
    if element_type == "BOOL":
        return "true and false, 1 and 0"
    if element_type in FLOATS:
        kind = ml_dtypes.bfloat16 if element_type == "BF16" else ELEMENT_TYPES[element_type].numpy
        known = ml_dtypes.finfo(kind)  # type: ignore[no-untyped-call]  # it has no types of its own
        return f"numbers up to {float(known.max):.3g}, whole ones exactly up to {2 ** (known.nmant + 1)}"
    ends = np.iinfo(ELEMENT_TYPES[element_type].numpy)
    return f"whole numbers from {ends.min} to {ends.max}"
