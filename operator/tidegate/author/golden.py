"""Choosing golden samples: from a pool of inputs those few that notice the most damage, then proof that they hold.

A row is worth taking when damages change its answer that no chosen row notices yet; among equals, rows of a class
not yet shown and rows that the model finds hard (a small lead of the first class over the second) come first.  Every
class that the pool holds is shown, as far as there is room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tidegate.author.calibration import QUANTIZED
from tidegate.author.damage import Damage, DamagedModels
from tidegate.author.rowwise import compare_numbers
from tidegate.author.session import Array, Runner, Tensors, request_of, rows_of
from tidegate.bundle.element_types import FLOATS
from tidegate.bundle.errors import GoldenInvalid
from tidegate.bundle.golden import MAX_GOLDEN_BYTES, GoldenSample, as_float, compare_outputs, tolerance_for
from tidegate.bundle.manifest import Interface, Tolerance

ROWS_PER_SAMPLE = (1, 2, 4, 8)  # one row and batches: a server may join requests into either
NOTICED_BY = 2  # rows that should notice each damage
SAFE_LEADS = 4  # a row whose classes are closer than this many tolerances may tip over on other hardware
ENOUGH = 0.95


@dataclass(frozen=True, slots=True)
class Proof:
    """How much damage the samples notice, per weight."""

    noticed: int
    tried: int
    blind: tuple[str, ...]  # "weight (how)" of what they do not

    @property
    def share(self) -> float:
        return self.noticed / self.tried if self.tried else 1.0


def tolerances(interface: Interface, *, quantized: bool) -> tuple[Tolerance, ...]:
    """The defaults of the element types, written out; a label follows the scores that it is the winner of."""
    scores = _scores_of(interface)
    label = _label_of(interface) if scores else None
    rows = []
    for output in interface.outputs:
        default = tolerance_for(output, (), "cpu")
        least = QUANTIZED if quantized and output.element_type in FLOATS else 0.0
        rows.append(
            Tolerance(
                output.name,
                max(default.atol, least),
                max(default.rtol, least),
                top1=output.name == scores,
                label_of=scores if output.name == label else "",
            )
        )
    return tuple(rows)


def _scores_of(interface: Interface) -> str:
    """The output that holds one score per class: two dimensions, floats, at least two columns."""
    for output in interface.outputs:
        columns = output.shape[1:]
        if output.element_type in FLOATS and len(columns) == 1 and isinstance(columns[0], int) and columns[0] > 1:
            return output.name
    return ""


def _label_of(interface: Interface) -> str:
    names = [output.name for output in interface.outputs if output.element_type in ("INT64", "INT32", "BYTES")]
    return names[0] if len(names) == 1 else ""


@dataclass(frozen=True, slots=True)
class Chooser:
    """A pool of inputs, what the model answers to each, and which damage each notices."""

    interface: Interface
    rules: tuple[Tolerance, ...]
    pool: Tensors
    answers: Tensors

    def requests(self, models: DamagedModels, damages: Sequence[Damage], count: int) -> list[Tensors]:
        """`count` requests that together notice as much as the pool can."""
        sizes = self._sizes(count)
        noticed = np.zeros((len(damages), rows_of(self.pool)), dtype=bool)
        for number, damage in enumerate(damages):
            with models.damaged(damage) as damaged:
                changed = damaged.run_pool(self.pool)
            noticed[number] = True if changed is None else self._differs(changed)
        rows = greedy(noticed, self._leads(), self._classes(), usable=self._safe(), count=sum(sizes))
        return list(self._cut(rows, sizes))

    def _cut(self, rows: Sequence[int], sizes: Sequence[int]) -> Iterable[Tensors]:
        start = 0
        for size in sizes:
            chosen = list(rows[start : start + size])
            start += size
            if chosen:
                yield request_of(self.interface, self.pool, chosen)

    def _sizes(self, count: int) -> list[int]:
        """Rows per sample, within the bytes that all samples together may have."""
        row_bytes = sum(array.nbytes for array in (*self.pool.values(), *self.answers.values())) // rows_of(self.pool)
        most = ROWS_PER_SAMPLE if self.interface.batched else (1,)
        sizes, room = [], MAX_GOLDEN_BYTES // 2 // max(row_bytes, 1)
        for number in range(count):
            size = min(most[number % len(most)], room)
            room -= size
            sizes.append(size)
        return [size for size in sizes if size]

    def _differs(self, changed: Tensors) -> Array:
        """Per row: whether any output is beyond its tolerance."""
        rows = rows_of(self.pool)
        differs = np.zeros(rows, dtype=bool)
        for output, rule in zip(self.interface.outputs, self.rules, strict=True):
            expected, actual = self.answers[output.name], np.asarray(changed[output.name])
            if expected.shape != actual.shape:
                return np.ones(rows, dtype=bool)
            if output.element_type in FLOATS:
                a, b = (as_float(array, output).reshape(rows, -1) for array in (expected, actual))
                differs |= compare_numbers(a, b, rule).wrong
            elif not rule.label_of:  # a label follows the scores
                differs |= np.asarray(actual != expected).reshape(rows, -1).any(axis=1)
        return differs

    def _scores(self) -> Array | None:
        name = next((rule.output for rule in self.rules if rule.top1), "")
        return self.answers[name].astype(np.float64).reshape(rows_of(self.pool), -1) if name else None

    def _classes(self) -> Array:
        """The class that the model gives each row: of its label, else of its scores, else one for all."""
        rows, scores = rows_of(self.pool), self._scores()
        label = _label_of(self.interface)
        if label and self.answers[label].size == rows:
            return np.asarray(np.unique(self.answers[label].reshape(-1), return_inverse=True)[1])
        return np.zeros(rows, dtype=int) if scores is None else scores.argmax(axis=-1)

    def _leads(self) -> Array:
        scores = self._scores()
        if scores is None:
            return np.zeros(rows_of(self.pool))
        top = np.partition(scores, -2, axis=-1)
        return np.asarray(top[:, -1] - top[:, -2])

    def _safe(self) -> Array:
        """Rows whose answer is finite and not a near tie."""
        safe = np.ones(rows_of(self.pool), dtype=bool)
        for output in self.interface.outputs:
            if output.element_type in FLOATS:
                values = as_float(self.answers[output.name], output)
                safe &= np.isfinite(values).reshape(len(safe), -1).all(axis=1)
        scores, rule = self._scores(), next((rule for rule in self.rules if rule.top1), None)
        if scores is not None and rule:
            allowed = rule.atol + rule.rtol * np.abs(scores).max(axis=-1)
            safe &= self._leads() > SAFE_LEADS * allowed
        return safe if safe.any() else np.ones_like(safe)


def greedy(noticed: Array, leads: Array, classes: Array, *, usable: Array, count: int) -> list[int]:
    """Rows in the order of their worth, see the module's first lines."""
    left = np.full(noticed.shape[0], NOTICED_BY)
    shown = np.zeros(int(classes.max(initial=0)) + 1, dtype=int)
    free = usable.copy()
    chosen: list[int] = []
    while len(chosen) < count and free.any():
        worth = noticed[left > 0].sum(axis=0)
        unseen = free & (shown[classes] == 0)
        eligible = unseen if len(np.unique(classes[unseen])) >= count - len(chosen) else free
        order = np.lexsort((leads, shown[classes], -worth, ~eligible))  # the last key counts first
        row = int(order[0])
        chosen.append(row)
        free[row] = False
        left[noticed[:, row]] -= 1
        shown[classes[row]] += 1
    return chosen


def prove(
    samples: Sequence[GoldenSample], models: DamagedModels, damages: Sequence[Damage], rules: tuple[Tolerance, ...]
) -> Proof:
    """Damage every weight in turn and count how often the samples notice, by the comparison that a server makes."""
    interface = models.interface
    blind = []
    for damage in damages:
        with models.damaged(damage) as damaged:
            noticed = any(_notices(sample, damaged.run(sample.inputs), interface, rules) for sample in samples)
        if not noticed:
            blind.append(f"{damage.weight} ({damage.how})")
    return Proof(len(damages) - len(blind), len(damages), tuple(blind))


def _notices(
    sample: GoldenSample, changed: Mapping[str, Array] | None, interface: Interface, rules: tuple[Tolerance, ...]
) -> bool:
    if changed is None:
        return True
    return not all(difference.ok for difference in compare_outputs(sample, changed, interface, rules))


def given_samples(
    inputs: Tensors, outputs: Tensors, runner: Runner, rules: tuple[Tolerance, ...]
) -> list[GoldenSample]:
    """Samples of the user's own; expected outputs, where given, must be what the model answers."""
    answers = runner.run(inputs)
    sample = GoldenSample(inputs, answers)
    if outputs:
        promised = GoldenSample(inputs, outputs)
        for difference in compare_outputs(promised, answers, runner.interface, rules):
            if not difference.ok:
                raise GoldenInvalid(
                    f"the model does not answer what the samples expect: '{difference.output}': {difference.message}",
                    where="golden samples",
                )
    return [sample]
