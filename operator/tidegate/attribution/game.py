"""What a model answers when only some players of a row take part: the others have their usual value.

The usual value is the mean of the data, or for what has no mean (texts, whole numbers, yes and no) the value that
occurs most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from sys import getsizeof
from typing import Literal

import numpy as np

from tidegate.attribution.players import Array, Players
from tidegate.bundle.element_types import FLOATS
from tidegate.bundle.golden import as_float
from tidegate.bundle.manifest import TensorSpec
from tidegate.errors import Invalid

Tensors = Mapping[str, Array]
Ask = Callable[[dict[str, Array]], Tensors]  # a pool of inputs by name -> answers by output name, row for row
Baseline = Literal["mean", "zero"]


def usual_row(rows: Tensors, specs: Mapping[str, TensorSpec], baseline: Baseline) -> dict[str, Array]:
    """One row of every input that stands for "nothing is known"; of texts there is no zero."""
    return {name: _usual(array, specs[name], baseline) for name, array in rows.items()}


def _usual(array: Array, spec: TensorSpec, baseline: Baseline) -> Array:
    if baseline == "zero" and spec.element_type != "BYTES":
        return np.zeros_like(array[0])
    if spec.element_type in FLOATS - {"BF16"}:
        return _mean(array)
    return _most_frequent_text(array) if array.dtype == object else _most_frequent(array)


def _mean(array: Array) -> Array:
    """Of what is there: a missing value is no reason to know nothing of the others.  All missing: missing."""
    known = ~np.isnan(array)
    total = np.where(known, array, 0).sum(axis=0, dtype=np.float64)
    count = known.sum(axis=0)
    return np.where(count, total / np.maximum(count, 1), np.nan).astype(array.dtype)


def _most_frequent(array: Array) -> Array:
    """Of each column; of several the least.  All columns at once: a picture has a hundred thousand."""
    rising = np.sort(array, axis=0)
    found, most, count = rising[0].copy(), np.ones(rising.shape[1:], np.int64), np.ones(rising.shape[1:], np.int64)
    for before, value in pairwise(rising):
        count = np.where(value == before, count + 1, 1)
        more = count > most
        found, most = np.where(more, value, found), np.where(more, count, most)
    return np.asarray(found, dtype=array.dtype)


def _most_frequent_text(array: Array) -> Array:
    columns = array.reshape(len(array), -1).T.tolist()
    found = np.empty(len(columns), dtype=object)
    for place, column in enumerate(columns):
        counts = Counter(map(str, column))
        most = max(counts.values())
        found[place] = min(text for text, count in counts.items() if count == most)
    return found.reshape(array.shape[1:])


@dataclass(frozen=True, slots=True)
class Game:
    """One row against the usual one.  `outputs` are those explained; each answer is all of them, flat and in a row."""

    ask: Ask
    players: Sequence[Players]
    outputs: Sequence[TensorSpec]
    row: Tensors
    usual: Tensors
    run_rows: int  # that may be asked about at once
    run_bytes: int
    shapes: tuple[tuple[int, ...], ...] = ()  # of one row of each output, once they are known

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
        row_bytes = sum(_bytes_of_either(array, self.usual[name]) for name, array in self.row.items())
        return int(np.clip(self.run_bytes // max(row_bytes, 1), 1, self.run_rows))

    def first_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of one row of each output, as the usual row is answered."""
        answers = self.ask(self._mixed(np.zeros((1, self.count), dtype=bool)))
        return tuple(answers[spec.name].shape[1:] for spec in self.outputs)

    def _run(self, takes_part: Array) -> Array:
        answers = self.ask(self._mixed(takes_part))
        flat = []
        for spec, shape in zip(self.outputs, self.shapes, strict=True):
            answer = answers[spec.name]
            if answer.shape != (len(takes_part), *shape):
                raise Invalid(
                    f"the shape of output '{spec.name}' depends on the values of the inputs, "
                    "so what a part adds to it cannot be said",
                    where="the model",
                )
            flat.append(as_float(answer, spec).reshape(len(takes_part), -1))
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


def _bytes_of_either(row: Array, usual: Array) -> int:
    """The most that a mix of both holds; of texts an array has only where they are."""
    texts = map(max, map(getsizeof, row.flat), map(getsizeof, usual.flat)) if row.dtype == object else ()
    return row.nbytes + sum(texts)


def row_of(rows: Tensors, number: int) -> dict[str, Array]:
    """One row, without the dimension of the rows."""
    return {name: np.asarray(array[number], order="C") for name, array in rows.items()}


def rows_of(rows: Tensors) -> int:
    """How many there are."""
    return len(next(iter(rows.values()), ()))
