"""Runs of always the same number of rows, for models whose device takes long to get used to another one.

ONNX Runtime keeps the plans of a convolution for the sizes of the last run only, and makes new ones for any other: on
an H200 1.5 ms for each convolution of a network, 80 ms where the run itself takes 2 (its issue 23006).  Requests that
arrive by chance make batches of any size, so nearly every run paid that: 99 requests/s from 16 clients, and 441 from
one.  With always as many rows it is paid in the warm-up, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from tidegate_runtime.interfaces import Array
from tidegate_runtime.runners import Run

LEAST_CHANGE: Final = 0.005  # seconds: less is noise, or no trouble
DEARER: Final = 1.5  # times a run of one row: what a run may cost that is filled up to more rows


class Steady:
    """A call like `run`, whose runs have `rows` rows: missing ones are copies, and what is too much comes in pieces.

    Only for models whose rows do not depend on each other. Feeds without a row for each row are run as they are.
    """

    def __init__(self, run: Run, rows: int) -> None:
        self._run, self.rows = run, rows

    def __call__(self, names: list[str], feeds: dict[str, Array], options: Any) -> list[Array]:
        counts = {len(array) if array.ndim else 0 for array in feeds.values()}
        if len(counts) != 1 or not (count := counts.pop()) or count == self.rows:
            return self._run(names, feeds, options)
        pieces = [self._piece(names, feeds, options, start, count) for start in range(0, count, self.rows)]
        return pieces[0] if len(pieces) == 1 else [np.concatenate(parts) for parts in zip(*pieces, strict=True)]

    def _piece(self, names: list[str], feeds: Mapping[str, Array], options: Any, start: int, count: int) -> list[Array]:
        kept = min(self.rows, count - start)
        missing = self.rows - kept
        filled = {
            name: np.concatenate([array[start : start + kept], np.repeat(array[:1], missing, axis=0)])
            for name, array in feeds.items()
        }
        return [array[:kept] for array in self._run(names, filled, options)]


def steady_rows(costs: Mapping[int, float], change: float) -> int:
    """How many rows every run should have, by the seconds of runs by rows; 0: as many as there happen to be.

    `change`: seconds more of the first run of one row after one of many.
    """
    if change <= max(LEAST_CHANGE, costs[1]):
        return 0
    return max(rows for rows, seconds in costs.items() if seconds <= DEARER * costs[1])
