"""How long a run will take: measured in the warm-up, corrected by every run since.

A run that is known to be short is made on the loop, because handing it to a thread costs 45 µs on a busy core; sizes
and shapes that were never seen go to a thread (a "tiny" model takes 10 ms at 100,000 rows).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

INLINE_SECONDS: Final = 0.0005
INLINE_ON_ONE_CORE: Final = 0.002  # a second thread would only take turns with the loop (8 % of a run of 1 ms)
SHAPES: Final = 512
WEIGHT = 0.1
JUMP = 4.0  # one slower run (the machine was busy) moves the estimate by at most 30 %
STALL = 0.01  # a run as long as this is believed at once: the values of an input can make a short run long


class Costs:
    """Seconds per run, by batch key and by the number of rows to the next power of two."""

    __slots__ = ("_inline", "_seconds")

    def __init__(self, measured: Sequence[tuple[int, float]], key: object, inline: float = INLINE_SECONDS) -> None:
        self._inline = inline
        self._seconds: dict[tuple[object, int], float] = {}
        for rows, seconds in sorted(measured):
            self._seconds[(key, rows.bit_length())] = seconds
        self._fill(measured, key)

    def _fill(self, measured: Sequence[tuple[int, float]], key: object) -> None:
        """Sizes between two measured ones cost what the larger one does."""
        largest = max((rows for rows, _ in measured), default=0).bit_length()
        for bucket in range(largest - 1, 0, -1):
            self._seconds.setdefault((key, bucket), self._seconds[(key, bucket + 1)])

    def predict(self, key: object, rows: int) -> float | None:
        """Seconds of a run, or None when nothing like it was ever run."""
        return self._seconds.get((key, rows.bit_length()))

    def is_short(self, key: object, rows: int) -> bool:
        """Whether a run is known to be short enough for the loop."""
        seconds = self._seconds.get((key, rows.bit_length()))
        return seconds is not None and seconds <= self._inline

    def short_rows(self, key: object, limit: int) -> int:
        """How many rows, at most `limit`, a run may have and still be short enough for the loop; 0: not even one."""
        for bucket in range(limit.bit_length(), 0, -1):
            seconds = self._seconds.get((key, bucket))
            if seconds is not None and seconds <= self._inline:
                return min(limit, (1 << bucket) - 1)
        return 0

    def ran(self, key: object, rows: int, seconds: float) -> None:
        """A run took this long."""
        place = (key, rows.bit_length())
        known = self._seconds.get(place)
        if seconds > STALL and (known is not None or len(self._seconds) < SHAPES):
            self._seconds[place] = seconds
        elif known is not None:
            self._seconds[place] = known + WEIGHT * (min(seconds, JUMP * known) - known)
        elif len(self._seconds) < SHAPES:
            self._seconds[place] = seconds
