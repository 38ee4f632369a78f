"""What is counted of explanations: they are no inference, and no evidence of a rollout, so they are counted here only.

The counts are whole numbers by name, so that those of several processes add up (further.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tidegate_runtime.counters import Spread

EDGES: Final = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # seconds
CODE, WITHIN, MICROSECONDS = "explain code ", "explain within ", "explain microseconds"
OK: Final = 200


class ExplainCounts:
    """Counts of one process. Written on the loop, read from any thread."""

    def __init__(self) -> None:
        self._seconds = Spread(EDGES)
        self._codes: dict[int, int] = {}

    def answered(self, status: int, seconds: float) -> None:
        """One was asked for and answered so; only of those that were made the time counts."""
        self._codes[status] = self._codes.get(status, 0) + 1
        if status == OK:
            self._seconds.add(seconds)

    def counts(self) -> dict[str, int]:
        """As they stand now, by names that `codes` and `durations` know."""
        codes = {f"{CODE}{status}": count for status, count in self._codes.copy().items()}
        within = {f"{WITHIN}{place}": count for place, count in enumerate(self._seconds.counts)}
        return {**codes, **within, MICROSECONDS: round(1e6 * self._seconds.sum)}


def codes(counts: Mapping[str, int]) -> dict[str, int]:
    """How many were answered so, by status."""
    found = {name.removeprefix(CODE): count for name, count in counts.items() if name.startswith(CODE)}
    return dict(sorted(found.items()))


def durations(counts: Mapping[str, int]) -> Spread | None:
    """How long those took that were made; None where nothing is explained."""
    if MICROSECONDS not in counts:
        return None
    found = Spread(EDGES)
    found.counts = [counts[f"{WITHIN}{place}"] for place in range(len(EDGES) + 1)]
    found.sum = counts[MICROSECONDS] / 1e6
    return found
