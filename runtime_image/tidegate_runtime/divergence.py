"""How often the candidate's answers differed from the stable version's, by rule, in bins of one and of ten seconds.

One thread compares and writes; any thread reads.  Like a lane of counters.py it publishes closed bins as one value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

TOP1: Final = ""  # the rule about the first class, beside those by output name


class Clock:
    """Wall-clock seconds that never jump: the monotonic clock plus what the wall said when the process started."""

    __slots__ = ("offset", "start")

    def __init__(self, now: float, wall: float) -> None:
        self.offset = wall - now
        self.start = wall


@dataclass(slots=True)
class Bin:
    """Comparisons of one second or of ten: how many, how many differed by each rule, and how far off at worst."""

    at: int
    n: int = 0
    differing: dict[str, int] = field(default_factory=dict)
    worst: dict[str, float] = field(default_factory=dict)

    def copied(self) -> Bin:
        """As it is now; `n` is read last, so that a bin still being written keeps k <= n."""
        differing, worst = self.differing.copy(), self.worst.copy()
        return Bin(self.at, self.n, differing, worst)

    def absorb(self, other: Bin) -> None:
        self.n += other.n
        for rule, count in other.differing.items():
            self.differing[rule] = self.differing.get(rule, 0) + count
        for rule, worst in other.worst.items():
            self.worst[rule] = max(self.worst.get(rule, 0.0), worst)


@dataclass(frozen=True, slots=True)
class Scale:
    """Σ(k²/n) by rule over bins of one length."""

    bins: int = 0
    squares: Mapping[str, float] = field(default_factory=dict)

    def plus(self, closed: Bin) -> Scale:
        if closed.n == 0:
            return self
        squares = dict(self.squares)
        for rule, k in closed.differing.items():
            squares[rule] = squares.get(rule, 0.0) + k * k / closed.n
        return Scale(self.bins + 1, squares)


@dataclass(frozen=True, slots=True)
class Divergence:
    """All closed seconds."""

    total: Bin = field(default_factory=lambda: Bin(0))
    ones: Scale = Scale()
    tens: Scale = Scale()
    decade: Bin = field(default_factory=lambda: Bin(0))

    def plus(self, second: Bin) -> Divergence:
        """This and one more second."""
        closed, before = second.copied(), self.with_decades_before(second.at // 10)
        total, decade = self.total.copied(), before.decade.copied()
        total.absorb(closed)
        decade.absorb(closed)
        return Divergence(total, self.ones.plus(closed), before.tens, decade)

    def with_decades_before(self, at: int) -> Divergence:
        """The same with the ten seconds being counted closed, when they lie before decade `at`."""
        if self.decade.at >= at:
            return self
        return replace(self, tens=self.tens.plus(self.decade), decade=Bin(at))

    def document(self) -> dict[str, Any]:
        """As it stands in the evidence JSON."""
        names = [rule for rule in self.total.differing if rule != TOP1]
        outputs = {name: {**self._rule(name), "worst": self.total.worst.get(name, 0.0)} for name in names}
        bins = {"n": self.total.n, "bins": self.ones.bins, "bins10": self.tens.bins}
        return {**bins, "top1": self._rule(TOP1), "outputs": outputs}

    def _rule(self, rule: str) -> dict[str, Any]:
        return {
            "k": self.total.differing.get(rule, 0),
            "squares": self.ones.squares.get(rule, 0.0),
            "squares10": self.tens.squares.get(rule, 0.0),
        }


class DivergenceCounter:
    """Adds comparisons second by second."""

    __slots__ = ("_clock", "_state")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._state: tuple[Divergence, Bin] = (Divergence(), Bin(0))

    def add(self, now: float, top1_differs: bool, outputs: Mapping[str, tuple[bool, float]]) -> None:
        """One comparison: did the first class differ, and per output whether it is beyond tolerance and how far off."""
        at = int(now + self._clock.offset)
        totals, second = self._state
        if second.at != at:
            totals, second = totals.plus(second), Bin(at)
            self._state = (totals, second)
        differing = {TOP1: int(top1_differs)} | {name: int(differs) for name, (differs, _) in outputs.items()}
        worst = {name: distance for name, (_, distance) in outputs.items()}
        second.absorb(Bin(at, 1, differing, worst))

    def read(self, until: int) -> Divergence:
        """The seconds before `until`."""
        totals, second = self._state
        if second.at < until:
            totals = totals.plus(second)
        return totals.with_decades_before(until // 10)
