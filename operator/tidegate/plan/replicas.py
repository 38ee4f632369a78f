"""How many servers each version needs, and which weights exist at all.

With weights in the route any share is possible, and the candidate needs its share of the stable version's live
count.  Where the split is the number of ready servers (provider Service), or where a new server takes the place of
an old one (Replace), only some weights exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

FULL = 100
# Where ready servers make the split: the stable version keeps all of its own for the way back, and never are there more
# new ones than those.
MOST_SHARED = 50


@dataclass(frozen=True, slots=True)
class Capacity:
    """How this rollout splits its servers; `live` is the stable version's count at its start."""

    live: int
    replace: bool = False
    exact: bool = True

    def candidate_needs(self, weight: int) -> int:
        """Servers without which the candidate may not have this weight."""
        if weight <= 0:
            return 0
        if self.replace:
            return self._replaced(weight)
        if self.exact or weight >= FULL:
            return max(1, ceil(weight * self.live / FULL))
        share = min(weight, MOST_SHARED)
        return max(1, share * self.live // (FULL - share))

    def stable_keeps(self, weight: int) -> int:
        """Servers of the stable version while the candidate prepares for this weight."""
        return self.live - self._replaced(weight) if self.replace and weight > 0 else self.live

    def _replaced(self, weight: int) -> int:
        # The last old server goes only after 100 % went to the new ones: it still has weight until then.
        return max(1, min(ceil(weight * self.live / FULL), self.live - 1))

    def supports(self, weight: int, ready: int) -> bool:
        """Whether that many ready servers are enough for this weight."""
        return ready >= self.candidate_needs(weight)

    def ladder(self, steps: Iterable[int]) -> tuple[int, ...]:
        """The weights of this rollout, rising, with 100 at the end."""
        return (*sorted({given for weight in steps if 0 < (given := self.given(weight)) < FULL}), FULL)

    def unreachable(self, steps: Iterable[int]) -> tuple[int, ...]:
        """Weights that the number of servers cannot make: less than one server among all."""
        return tuple(weight for weight in steps if not self.given(weight))

    def lowered(self, steps: Iterable[int]) -> tuple[int, ...]:
        """Weights instead of which there is a lower one, which lasts as long as they would."""
        return tuple(weight for weight in steps if 0 < self.given(weight) < weight)

    def given(self, weight: int) -> int:
        """The weight that a step of that weight really gets; 0: none, it is skipped."""
        if self.replace:
            return FULL * ceil(weight * self.live / FULL) // self.live
        if self.exact:
            return weight
        return min(weight, MOST_SHARED) if weight * (self.live + 1) >= FULL else 0
