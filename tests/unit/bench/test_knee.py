"""The search for the knee, on servers whose knee is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from tests.unit.bench.simulation import Simulation, opened

from tidegate.bench.knee import CLOSE, Level, bracket, next_rate
from tidegate.bench.record import quantile

MOST_LEVELS = 30


def search(holds: Callable[[float], bool], peak: float, most: float = math.inf) -> list[Level]:
    seen: list[Level] = []
    while (rate := next_rate(seen, peak, most)) is not None:
        seen.append(Level(rate, holds(rate)))
        assert len(seen) <= MOST_LEVELS
    return seen


@pytest.mark.parametrize("peak", [90.0, 110.0, 250.0, 1000.0])
@pytest.mark.parametrize("knee", [3.0, 11.0, 52.0, 79.0, 100.0])
def test_the_knee_is_found_whatever_the_peak_seemed_to_be(knee: float, peak: float) -> None:
    low, high = bracket(search(lambda rate: rate <= knee, peak))

    assert high is not None
    assert low <= knee < high
    assert high <= low * CLOSE


def test_a_peak_that_was_measured_too_low_is_passed() -> None:
    low, high = bracket(search(lambda rate: rate <= 100.0, peak=40.0))

    assert high is not None
    assert low <= 100.0 < high <= low * CLOSE


def test_no_rate_that_holds_is_looked_at_twice_and_none_is_above_the_highest_allowed() -> None:
    seen = search(lambda _: True, peak=100.0, most=62.0)

    assert [level.rate for level in seen] == [10.0, 30.0, 50.0, 62.0]
    assert bracket(seen) == (62.0, None)


def test_a_limit_that_never_holds_is_given_up() -> None:
    seen = search(lambda _: False, peak=100.0)

    assert bracket(seen) == (0.0, min(level.rate for level in seen))
    assert min(level.rate for level in seen) < 1.0


def test_a_level_above_one_that_does_not_hold_counts_for_nothing() -> None:
    assert bracket([Level(10, True), Level(20, False), Level(20, False), Level(30, True)]) == (10, 20)


def test_a_level_that_fails_once_is_looked_at_again_and_forgiven() -> None:
    seen = [Level(10, True), Level(30, False)]

    assert next_rate(seen, 100.0, math.inf) == 30
    assert bracket(seen) == (10, None)
    assert next_rate([*seen, Level(30, True)], 100.0, math.inf) == 50
    assert next_rate([*seen, Level(30, False)], 100.0, math.inf) == 20


def test_the_knee_of_a_queue_is_below_its_capacity() -> None:
    def holds(rate: float) -> bool:  # a server that takes 10 ms a request: 100 a second
        return quantile(np.sort(opened(Simulation(0.01), rate, 120.0).latencies), 0.99) <= 0.05

    low, high = bracket(search(holds, peak=100.0))

    assert high is not None
    assert 45 < low < high < 65  # where one in a hundred waits for four others
