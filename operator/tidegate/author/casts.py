"""Whether numbers stay what they are in the type that a model takes: a cast changes them without a word."""

from __future__ import annotations

import numpy as np

from tidegate.author.session import Array
from tidegate.bundle.element_types import ELEMENT_TYPES
from tidegate.errors import Invalid

ROUNDING = ("FP32", "FP16")


def require_kept(column: Array, element_type: str, where: str) -> None:
    """Raise Invalid for what a type of whole numbers cannot hold: a fraction, no number, one beyond its ends."""
    if not element_type.startswith(("INT", "UINT")) or column.dtype.kind not in "iuf":
        return
    given = column.astype(np.float64) if column.dtype.kind == "f" else column
    ends = np.iinfo(ELEMENT_TYPES[element_type].numpy)
    with np.errstate(invalid="ignore"):
        lost = (given < ends.min) | (given > ends.max) | (given.astype(ends.dtype) != given)
    if lost.any():
        row = int(np.argmax(lost.reshape(len(lost), -1).any(axis=1)))
        raise Invalid(
            f"it holds {given[lost][0]} (row {row + 1}), and the model takes {element_type}: "
            f"whole numbers from {ends.min} to {ends.max}",
            where=where,
            do="bring it into that type as it was for the training, or leave it out: --drop-columns",
        )


def first_rounded(column: Array, element_type: str) -> tuple[int, int] | None:
    """Of whole numbers the first that floats of this type do not hold, and what it becomes; None if they hold all."""
    if element_type not in ROUNDING or column.dtype.kind not in "iuf":
        return None
    if np.can_cast(column.dtype, ELEMENT_TYPES[element_type].numpy):
        return None
    given = column[np.isfinite(column)]
    if column.dtype.kind == "f" and (given != np.floor(given)).any():
        return None
    with np.errstate(over="ignore"):
        floats = given.astype(ELEMENT_TYPES[element_type].numpy)
    lost = np.isfinite(floats) & (floats.astype(np.longdouble) != given.astype(np.longdouble))
    return (int(given[lost][0]), int(floats[lost][0])) if lost.any() else None
