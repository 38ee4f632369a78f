"""The classification extension: instead of an output its highest values, as texts "value:index" or "value:index:label".

An output whose first dimension is dynamic is looked at row by row, any other one as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from tidegate.bundle.manifest import TensorSpec
from tidegate_runtime.errors import BadRequest
from tidegate_runtime.interfaces import Array

MOST_TEXTS: Final = 65_536  # of one answer, made one by one on the loop: a million of them took 0.6 s
UNORDERED: Final = frozenset({"BOOL", "BF16", "BYTES"})  # BF16 is raw bits here


def asked(spec: TensorSpec, count: Any) -> int:
    """How many of an output's highest values a request asks for, from what it says; raises BadRequest."""
    if type(count) is not int or count < 1:
        raise BadRequest(f"output {spec.name!r}: classification must be a whole number of classes, at least 1")
    if spec.element_type in UNORDERED:
        raise BadRequest(f"output {spec.name!r} is {spec.element_type}: only numbers can be classified")
    return count


def highest(spec: TensorSpec, array: Array, count: int, labels: Sequence[str]) -> Array:
    """The `count` highest values of an output, highest first; among equals the lower index comes first, NaN last.

    The result is an object array of str of shape [rows, n] for an output with rows, else [n]; n is `count`, or the
    number of classes where that is smaller.  `labels` are used when every class has one.  Raises BadRequest for what
    would be more than 65,536 texts.
    """
    by_row = bool(spec.shape) and isinstance(spec.shape[0], str)
    rows, classes = (len(array), math.prod(array.shape[1:])) if by_row else (1, array.size)
    if rows * min(count, classes) > MOST_TEXTS:
        raise BadRequest(
            f"output {spec.name!r}: {rows} rows of {min(count, classes)} classes are more than {MOST_TEXTS} texts: "
            "ask for fewer classes, or for fewer rows at once"
        )
    values: Any = array.reshape(rows, classes)
    falling = -values if values.dtype.kind == "f" else ~values  # the complement never overflows
    order = np.argsort(falling, axis=1, kind="stable")[:, :count]
    texts = np.empty(order.shape, object)
    named = classes <= len(labels)
    for row, indices in enumerate(order):
        for place, (value, index) in enumerate(zip(values[row, indices], indices.tolist(), strict=True)):
            texts[row, place] = f"{value!s}:{index}:{labels[index]}" if named else f"{value!s}:{index}"
    return texts if by_row else texts[0]
