"""Two answers to the same request, compared output by output and row by row.

A row differs when any number in it is beyond the output's tolerance.  A label may differ where the scores it is the
winner of are level: rounding alone decides there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tidegate.author.session import Array
from tidegate.bundle.element_types import FLOATS
from tidegate.bundle.golden import as_float
from tidegate.bundle.manifest import TensorSpec, Tolerance


@dataclass(frozen=True, slots=True)
class Rows:
    """Per row of one output: whether it differs, by how much its worst number does, and whether it can tell at all.

    A row of infinities and of what is no number tells nothing.
    """

    wrong: Array
    distance: Array
    telling: Array


class ShapesDiffer(Exception):
    """The two answers have different shapes, or one holds texts or whole numbers: their rows cannot be compared."""

    def __init__(self, output: str, expected: Array, found: Array) -> None:
        what = f"has the shape {list(found.shape)}, the original gives {list(expected.shape)}"
        if found.shape == expected.shape:
            what = f"holds {_kind(found)}, the original gives {_kind(expected)}"
        super().__init__(f"output '{output}' {what}")
        self.expected = expected.shape
        self.found = found.shape


_KINDS = {
    **dict.fromkeys("iub", "whole numbers"),
    "f": "numbers with a fraction",
    **dict.fromkeys("OUS", "texts"),
}


def compare_rows(
    expected: Mapping[str, Array], found: Mapping[str, Array], specs: Sequence[TensorSpec], rules: Sequence[Tolerance]
) -> dict[str, Rows]:
    """Every output that both have; raises ShapesDiffer."""
    by_output = {rule.output: rule for rule in rules}
    by_name = {spec.name: spec for spec in specs}
    compared = {}
    for name in (spec.name for spec in specs if spec.name in expected):
        right, given = np.asarray(expected[name]), np.asarray(found[name])
        if right.shape != given.shape or not _same_kind(right, given, by_name[name]):
            raise ShapesDiffer(name, right, given)
        rule = by_output[name]
        if by_name[name].element_type in FLOATS:
            compared[name] = compare_numbers(as_float(right, by_name[name]), as_float(given, by_name[name]), rule)
        else:
            level = _level(expected, rule.label_of, by_output)
            compared[name] = _exact(right, given, level)
    return compared


def _kind(array: Array) -> str:
    return _KINDS.get(array.dtype.kind, str(array.dtype))


def _same_kind(expected: Array, found: Array, spec: TensorSpec) -> bool:
    """Any number may stand for one with a fraction: some of those come as raw bits, some originals round."""
    kinds = {_kind(expected), _kind(found)}
    return len(kinds) == 1 or (spec.element_type in FLOATS and "texts" not in kinds)


def compare_numbers(expected: Array, found: Array, rule: Tolerance) -> Rows:
    """Row by row; what is infinite or no number must be the same on both sides."""
    with np.errstate(invalid="ignore"):
        same = (expected == found) | (np.isnan(expected) & np.isnan(found))
        distance = np.where(same, 0.0, np.abs(found - expected))
        distance = np.where(np.isnan(distance), np.inf, distance)
        allowed = rule.atol + rule.rtol * np.abs(expected)
        allowed = np.where(np.isfinite(allowed), allowed, 0.0)
        wrong = ~same & ~(distance <= allowed)
    telling = _flat(np.isfinite(expected))
    return Rows(
        np.asarray(_flat(wrong).any(axis=1)),
        np.asarray(_flat(distance).max(axis=1, initial=0.0)),
        np.asarray(telling.any(axis=1) | (telling.shape[1] == 0)),
    )


def _exact(expected: Array, found: Array, level: Array | None) -> Rows:
    wrong = np.asarray(_flat(np.asarray(expected.astype(str) != found.astype(str))).any(axis=1))
    if level is not None and level.shape == wrong.shape:
        wrong &= ~level
    return Rows(wrong, wrong.astype(np.float64), np.ones_like(wrong))


def _level(expected: Mapping[str, Array], scores: str, rules: Mapping[str, Tolerance]) -> Array | None:
    """Rows without a clear winner."""
    if scores not in expected or expected[scores].shape[1:] <= (1,):
        return None
    values = np.asarray(expected[scores], dtype=np.float64)
    top = np.partition(values, -2, axis=-1)
    near = 2 * (rules[scores].atol + rules[scores].rtol * np.abs(top[..., -1]))
    return np.asarray(_flat(top[..., -1] - top[..., -2] <= near).all(axis=1))


def _flat(array: Array) -> Array:
    """One row per first index; a single number is one row."""
    return np.asarray(array.reshape(len(array), math.prod(array.shape[1:])) if array.ndim else array.reshape(1, 1))
