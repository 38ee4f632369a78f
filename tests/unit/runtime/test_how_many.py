"""How many processes a server has."""

from __future__ import annotations

import math
from typing import cast

import pytest

from tidegate_runtime.session import OrtModel
from tidegate_runtime.settings import parse
from tidegate_runtime.siblings.choose import how_many
from tidegate_runtime.siblings.family import pause


class Measured:
    """As much of a model as the choice looks at."""

    def __init__(self, seconds: float | None) -> None:
        self.costs = () if seconds is None else ((1, seconds), (2, seconds))


@pytest.mark.parametrize(
    ("flags", "seconds", "cores", "count"),
    [
        ("", 6e-6, 8, 1),
        ("--workers 3", 6e-6, 1, 3),
        ("--workers 3", 0.07, 8, 3),
        ("--workers auto", 6e-6, 1, 1),
        ("--workers auto", 6e-6, 1.9, 1),
        ("--workers auto", 6e-6, 0.1, 1),
        ("--workers auto", 6e-6, 2, 2),
        ("--workers auto", 3e-4, 3.5, 3),
        ("--workers auto", 6e-6, 64, 4),
        ("--workers auto", 6e-4, 64, 1),
        ("--workers auto", None, 64, 1),
        ("--workers auto --queue 2", 6e-6, 64, 2),
        ("--workers auto --device cuda", 6e-6, 64, 1),
    ],
)
def test_tiny_runs_on_several_cores_are_worth_several_processes(
    flags: str, seconds: float | None, cores: float, count: int
) -> None:
    settings = parse(["--bundle", "b", *flags.split()], {})

    found, why = how_many(settings, cast("OrtModel", Measured(seconds)), cores, math.inf)

    assert (found, bool(why)) == (count, True)


@pytest.mark.parametrize(
    ("copies", "count", "why"),
    [(0.7, 1, ", memory for 0"), (2.9, 2, ", memory for 2"), (3.0, 3, ", memory for 3"), (4.0, 4, " cores")],
)
def test_no_more_processes_are_chosen_than_the_memory_limit_holds(copies: float, count: int, why: str) -> None:
    settings = parse(["--bundle", "b", "--workers", "auto"], {})

    found, sentence = how_many(settings, cast("OrtModel", Measured(6e-6)), 8, copies)

    assert found == count
    assert sentence.endswith(why)


def test_a_process_that_dies_is_started_again_later_each_time_and_in_the_end_not_any_more() -> None:
    assert [pause(deaths) for deaths in range(1, 7)] == [0.5, 1, 2, 4, None, None]
