"""What `optimize` is asked for, in one value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tidegate.author.request import DataSet

Precision = Literal["", "fp16", "int8-dynamic", "int8-static", "int8-mixed"]
SEED = 20_240_229


@dataclass(frozen=True, slots=True)
class OptimizeRequest:
    """A smaller or faster variant to be made at `out`; what is asked for is done in the order of the fields.

    `data` are labelled rows that judge the variant and its parent.  `calibration` are the rows that it may learn from
    (ranges of numbers, what a pruned channel meant, what a student copies); without them a part of `data` is set
    aside for it.
    """

    out: Path
    version: str
    data: DataSet
    calibration: DataSet | None = None
    name: str = ""  # the parent's
    description: str = ""  # the parent's
    student: str = ""  # module:factory that a student model comes from
    prune: float = 0.0  # share of the channels to be taken out, below 1
    graph: bool = False
    precision: Precision = ""
    max_drop: float = 0.01  # of accuracy, or of R²
    threads: int = 1  # while latencies are measured
    seconds: float = 1.0  # to measure each latency for
    created_at: str = ""
    seed: int = SEED


def to_learn_from(data: DataSet, labels: str) -> DataSet:
    """Rows whose file may hold the column of labels too; it is not looked at."""
    return replace(data, columns={name: column for name, column in data.columns.items() if name != labels})
