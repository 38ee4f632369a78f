"""What a model answers when only some players of a row take part: the others have their usual value.

The usual value is the mean of the data, or for what has no mean (texts, whole numbers, yes and no) the value that
occurs most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tidegate.author.explain.players import Players
from tidegate.author.session import Array, Runner, Tensors, rows_of, take
from tidegate.bundle.element_types import FLOATS
from tidegate.bundle.golden import as_float
from tidegate.bundle.manifest import TensorSpec

Baseline = Literal["mean", "zero"]
BATCH_BYTES = 32 << 20
MOST_ROWS = 1024  # per run


def usual_row(rows: Tensors, specs: Mapping[str, TensorSpec], baseline: Baseline) -> dict[str, Array]:
    """One row of every input that stands for "nothing is known"; of texts there is no zero."""
    return {name: _usual(array, specs[name], baseline) for name, array in rows.items()}


def _usual(array: Array, spec: TensorSpec, baseline: Baseline) -> Array:
    if baseline == "zero" and spec.element_type != "BYTES":
        return np.zeros_like(array[0])
    if spec.element_type in FLOATS - {"BF16"}:
        return _mean(array)
    columns = array.reshape(len(array), -1)
    found = np.array([_most_frequent(columns[:, column]) for column in range(columns.shape[1])], dtype=array.dtype)
    return found.reshape(array.shape[1:])


def _mean(array: Array) -> Array:
    """Of what is there: a missing value is no reason to know nothing of the others.  All missing: missing."""
    known = ~np.isnan(array)
    total = np.where(known, array, 0).sum(axis=0, dtype=np.float64)
    count = known.sum(axis=0)
    return np.where(count, total / np.maximum(count, 1), np.nan).astype(array.dtype)


def _most_frequent(column: Array) -> object:
    values, counts = np.unique(column.astype(str) if column.dtype == object else column, return_counts=True)
    return values[counts.argmax()]


@dataclass(frozen=True, slots=True)
class Game:
    """One row against the usual one.  `outputs` are those explained; each answer is all of them, flat and in a row."""

    runner: Runner
    players: Sequence[Players]
    outputs: Sequence[TensorSpec]
    row: Tensors
    usual: Tensors

    @property
    def count(self) -> int:
        """How many players there are, over all inputs."""
        return sum(players.count for players in self.players)

    def __call__(self, takes_part: Array) -> Array:
        """Answers [n, values] to `takes_part` [n, players], as many rows at once as fit."""
        step = self._rows_at_once()
        parts = [self._run(takes_part[start : start + step]) for start in range(0, len(takes_part), step)]
        return np.concatenate(parts)

    def _rows_at_once(self) -> int:
        row_bytes = sum(max(array.nbytes, 1) for array in self.row.values())
        return int(np.clip(BATCH_BYTES // row_bytes, 1, MOST_ROWS))

    def answers(self, takes_part: Array) -> dict[str, Array]:
        """Answers by output name."""
        return self.runner.run_pool(self._mixed(takes_part))

    def _run(self, takes_part: Array) -> Array:
        answers = self.answers(takes_part)
        flat = [as_float(answers[spec.name], spec).reshape(len(takes_part), -1) for spec in self.outputs]
        return np.concatenate(flat, axis=1)

    def _mixed(self, takes_part: Array) -> dict[str, Array]:
        """Each row mixed of the real one and the usual one."""
        mixed, first = {}, 0
        for players in self.players:
            own = takes_part[:, first : first + players.count]
            real = own[:, players.groups.reshape(-1)].reshape(len(takes_part), *players.groups.shape)
            mixed[players.name] = np.where(real, self.row[players.name], self.usual[players.name])
            first += players.count
        return mixed


def row_of(rows: Tensors, number: int) -> dict[str, Array]:
    """One row, without the dimension of the rows."""
    return take(rows, number % rows_of(rows))
