"""The rows of an optimization: those that a variant may learn from, and those that judge it.

They are never the same: a variant is fitted to the rows it saw, and would be judged too kindly by them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tidegate.author.columns import as_inputs
from tidegate.author.request import DataSet
from tidegate.author.session import Array, Tensors, as_pool, rows_of, take
from tidegate.bundle.manifest import Interface
from tidegate.errors import Invalid

FEWEST = 20  # rows to judge by
SET_ASIDE, MOST_SET_ASIDE = 0.2, 512
BATCH = 64


@dataclass(frozen=True, slots=True)
class Judges:
    """Rows as the model's inputs, with what is right for each."""

    name: str
    rows: Tensors
    labels: Array
    classes: tuple[str, ...] = ()  # what numbers in `labels` stand for


@dataclass(frozen=True, slots=True)
class Lessons:
    """Rows to learn from, as the model's inputs; `alone`: the model takes no batches, each row is a request."""

    pool: Tensors
    alone: bool = False

    def fewer(self, most: int) -> Lessons:
        """At most so many of the rows, spread over all of them."""
        count = rows_of(self.pool)
        if count <= most:
            return self
        return Lessons(take(self.pool, np.linspace(0, count - 1, most).round().astype(int)), self.alone)

    def requests(self) -> Iterator[dict[str, Array]]:
        """What to ask the model, a few rows at a time."""
        step = 1 if self.alone else BATCH
        for start in range(0, rows_of(self.pool), step):
            yield take(self.pool, start if self.alone else slice(start, start + step))


@dataclass(frozen=True, slots=True)
class Divided:
    """What judges, what may be learnt from, and a note when one was taken from the other."""

    judges: Judges
    lessons: Lessons
    note: str = ""


def divide(data: DataSet, calibration: DataSet | None, interface: Interface, seed: int) -> Divided:
    """Both sets of rows, held against the interface; raises Invalid when they do not fit."""
    if data.labels is None:
        raise Invalid(
            "there are no labels to judge accuracy by", where=data.name, do="say which column holds them: --labels NAME"
        )
    rows, labels = as_pool(interface, as_inputs(data, interface)), np.asarray(data.labels)
    judged, note = np.arange(len(labels)), ""
    if calibration is not None:
        if calibration.digest and calibration.digest == data.digest:
            raise Invalid(
                "the rows to learn from are those that judge, which would judge too kindly",
                where=calibration.name,
                do="give others, or none with --calibration: a fifth of --data is set aside then",
            )
        learnt = as_pool(interface, as_inputs(calibration, interface))
    else:
        judged, aside = _set_aside(len(labels), seed)
        learnt = take(rows, aside)
        note = f"{len(aside)} of the {len(labels)} rows were set aside to learn from: give others with --calibration"
    if len(labels[judged]) < FEWEST:
        raise Invalid(f"{len(labels[judged])} rows are too few to judge by", where=data.name, do=f"give {FEWEST}")
    lessons = Lessons(learnt, alone=not interface.batched)
    return Divided(Judges(data.name, take(rows, judged), labels[judged], data.classes), lessons, note)


def _set_aside(count: int, seed: int) -> tuple[Array, Array]:
    order = np.random.default_rng(seed).permutation(count)
    taken = min(int(count * SET_ASIDE), MOST_SET_ASIDE)
    return np.sort(order[taken:]), np.sort(order[:taken])
