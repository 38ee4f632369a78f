"""The candidate's side of shadowing: run what the stable version already answered, and count the differences.

It runs at low priority on a lane of its own, so a candidate that serves users is not slowed down by being compared.
Each comparison counts once, however many rows the request had: it differs when any row does.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tidegate.bundle.element_types import FLOATS
from tidegate.bundle.golden import as_float
from tidegate.bundle.manifest import TensorSpec
from tidegate_runtime.divergence import DivergenceCounter
from tidegate_runtime.interfaces import Array, Lane, LoadedModel
from tidegate_runtime.shadow_wire import Shadowed

Feeds = dict[str, Array]
Decode = Callable[[bytes, int | None, LoadedModel], Feeds]


@dataclass(frozen=True, slots=True)
class OutputRule:
    """An output differs when an element is further off than |a-b| <= atol + rtol*|b|."""

    name: str
    atol: float
    rtol: float


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts as a difference; without any, only the distances are noted."""

    top1: bool = False
    outputs: tuple[OutputRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """One comparison: whether the first class moved, and per output whether it differs and how far off it is."""

    top1: bool
    outputs: dict[str, tuple[bool, float]]


class Comparer:
    """Runs shadowed requests on the candidate; `compare` is called on one thread only."""

    def __init__(self, counter: DivergenceCounter, lane: Lane, decode: Decode, allowed: float) -> None:
        self.rules = Rules()
        self._counter = counter
        self._lane = lane
        self._decode = decode
        self._allowed = allowed

    def compare(self, model: LoadedModel, shadowed: Shadowed) -> Found:
        """Run and count; gives what was found. A candidate that cannot answer what the stable version could differs."""
        rules = self.rules
        try:
            actual = self._answer(model, shadowed)
        except Exception:  # noqa: BLE001 - a refusal, ONNX Runtime's errors: whatever it is, it is no answer
            found = differs_in_all(rules)
        else:
            found = differences(rules, shadowed.outputs, actual, {spec.name: spec for spec in model.outputs})
        self._counter.add(time.monotonic(), found.top1, found.outputs)
        return found

    def _answer(self, model: LoadedModel, shadowed: Shadowed) -> dict[str, Array]:
        feeds = self._decode(shadowed.body, shadowed.header_length, model)
        self._lane.begin(time.monotonic() + self._allowed)
        try:
            outputs = model.run(feeds, self._lane)
        finally:
            self._lane.end()
        return {spec.name: array for spec, array in zip(model.outputs, outputs, strict=True)}


def differs_in_all(rules: Rules) -> Found:
    """No answer at all."""
    return Found(rules.top1, {rule.name: (True, 0.0) for rule in rules.outputs})


def differences(
    rules: Rules, expected: Mapping[str, Array], actual: Mapping[str, Array], specs: Mapping[str, TensorSpec]
) -> Found:
    """Compare the outputs that the stable version's answer had."""
    limits = {rule.name: rule for rule in rules.outputs}
    outputs: dict[str, tuple[bool, float]] = {}
    moved = False
    for name, wanted in expected.items():
        given, spec = actual.get(name), specs.get(name)
        if given is None or spec is None or given.shape != wanted.shape or given.dtype.kind != wanted.dtype.kind:
            moved = True
            outputs[name] = (name in limits, 0.0)
            continue
        moved = moved or first_class_moved(spec, wanted, given)
        outputs[name] = _distance(spec, wanted, given, limits.get(name))
    return Found(rules.top1 and moved, outputs)


def first_class_moved(spec: TensorSpec, wanted: Array, given: Array) -> bool:
    """Whether the best class of any row is another one: of scores the largest, of labels the label itself."""
    if spec.element_type not in FLOATS:
        return not np.array_equal(wanted, given)
    has_classes = wanted.ndim > 1 or (wanted.ndim == 1 and isinstance(spec.shape[0], int))  # else one score a row
    if not has_classes or wanted.size == 0:
        return False
    return bool((as_float(wanted, spec).argmax(-1) != as_float(given, spec).argmax(-1)).any())


def _distance(spec: TensorSpec, wanted: Array, given: Array, rule: OutputRule | None) -> tuple[bool, float]:
    if spec.element_type in ("BYTES", "BOOL"):
        return rule is not None and not np.array_equal(wanted, given), 0.0
    a, b = as_float(given, spec), as_float(wanted, spec)
    with np.errstate(invalid="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        off = np.where(same, 0.0, np.abs(a - b))
    off = np.where(np.isnan(off), math.inf, off)
    worst = min(float(off.max(initial=0.0)), sys.float_info.max)
    if rule is None:
        return False, worst
    return bool((off > rule.atol + rule.rtol * np.abs(np.where(np.isfinite(b), b, 0.0))).any()), worst
