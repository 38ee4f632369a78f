"""Axes: round numbers that fit a plot, and times as a reader of a clock would write them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor, log10

WIDTH = 1000.0
LEFT = 66.0
RIGHT = 18.0
STEPS = (1, 2, 5, 10)
TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
DAY = 86400.0
MINUTE = 60
FEW_DECADES = 2


@dataclass(frozen=True, slots=True)
class Times:
    """The time axis that all plots of a page share."""

    start: float
    end: float

    def x(self, at: float) -> float:
        span = max(self.end - self.start, 1e-9)
        return LEFT + (at - self.start) / span * (WIDTH - LEFT - RIGHT)

    def ticks(self, wanted: int = 8) -> list[tuple[float, str]]:
        """Times at round minutes or seconds, with what to write there."""
        span = self.end - self.start
        step = next((step for step in TIME_STEPS if span / step <= wanted), DAY * ceil(span / DAY / wanted))
        form = "%H:%M:%S" if step < MINUTE else "%H:%M" if step < DAY else "%d %b"
        first = ceil(self.start / step) * step
        count = floor((self.end - first) / step) + 1
        times = [first + i * step for i in range(max(0, count))]
        return [(at, datetime.fromtimestamp(at, UTC).strftime(form)) for at in times]


@dataclass(frozen=True, slots=True)
class Values:
    """A value axis from 0 to a round number; or by factors, from `low`, where the values differ by orders."""

    top: float
    marks: tuple[float, ...]
    height: float
    low: float = 0.0

    def y(self, value: float) -> float:
        if self.low:
            part = log10(min(max(value, self.low), self.top) / self.low) / log10(self.top / self.low)
        else:
            part = min(value, self.top) / self.top
        return self.height * (1 - part)


def values_for(largest: float, height: float, wanted: int = 4) -> Values:
    """An axis that holds `largest`, with about so many steps."""
    if largest <= 0:
        largest = 1.0
    size = 10.0 ** floor(log10(largest / wanted))
    step = next(size * factor for factor in STEPS if largest <= size * factor * wanted)
    count = ceil(largest / step - 1e-9)
    return Values(step * count, tuple(step * i for i in range(count + 1)), height)


def values_by_factors(smallest: float, largest: float, height: float) -> Values:
    """An axis for values that differ by orders of magnitude."""
    low, top = floor(log10(smallest)), ceil(log10(largest) - 1e-9)
    factors = (1, 2, 5) if top - low <= FEW_DECADES else (1,)
    marks = [factor * 10.0**power for power in range(low, top) for factor in factors]
    return Values(10.0**top, (*marks, 10.0**top), height, 10.0**low)


def clock(at: float) -> str:
    """A time of day in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def day(at: float) -> str:
    """A date and a time in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def lasting(seconds: float) -> str:
    """A length of time: `1 min 21 s`, `3 h 5 min`."""
    whole = round(seconds)
    for size, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{whole} s"
