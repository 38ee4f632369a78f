"""Whether requests share runs: only where that is wanted, harmless and clearly cheaper.

Decided once, when the model is warm; the metric `tidegate_batching` and a line of the log say what and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tidegate_runtime.interfaces import LoadedModel

LEAST_GAIN: Final = 0.15  # of the cost of a row: most networks on a CPU gain nothing, and all wait longer
FLAT: Final = 1.05  # a batch whose row costs at most this much more than in the best one is as good, and sooner done


@dataclass(frozen=True, slots=True)
class Batching:
    """How many rows of several requests one run may have; 1: none are joined. `code` is the metric's reason."""

    rows: int
    code: str
    sentence: str


def decide(model: LoadedModel, most_rows: int) -> Batching:
    """The first objection, or the smallest batch that gains as much as any, of at most `most_rows`."""
    if most_rows == 1:
        return Batching(1, "SwitchedOff", "--max-batch-size is 1")
    if model.objection is not None:
        return Batching(1, model.objection.code, model.objection.sentence)
    return by_gain(model.costs, min(most_rows, model.most_together))


def by_gain(measured: Sequence[tuple[int, float]], most_rows: int) -> Batching:
    """What the costs say: `measured` are rows and seconds of a run, rows rising."""
    per_row = {rows: seconds / rows for rows, seconds in measured}
    if len(per_row) <= 1 or 1 not in per_row:
        return Batching(1, "NotMeasured", "no batch could be run in the warm-up")
    best = min((rows for rows in per_row if rows > 1), key=per_row.__getitem__)
    costs = f"a row costs {_micro(per_row[1])} alone and {_micro(per_row[best])} in a batch of {best}"
    if per_row[best] > (1 - LEAST_GAIN) * per_row[1]:
        return Batching(1, "NoGain", costs)
    enough = next(rows for rows, seconds in per_row.items() if seconds <= FLAT * per_row[best])
    still_falling = enough == max(per_row)  # larger ones may be better yet: time or the limit has ended the measuring
    return Batching(most_rows if still_falling else min(enough, most_rows), "Gain", costs)


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs"
