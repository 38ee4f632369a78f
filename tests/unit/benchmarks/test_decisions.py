"""The benchmark of decisions still decides: a few simulated rollouts, and the bar that judges them."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from benchmarks import decisions
from benchmarks.decision_bar import misses
from benchmarks.decision_plot import plot
from benchmarks.decision_traffic import both


def runs(name: str, count: int = 4) -> list[decisions.Run]:
    scenario = next(scenario for scenario in decisions.SCENARIOS if scenario.name == name)
    rng = np.random.default_rng(1)
    return [decisions.decide(scenario, *both(rng, scenario.world)) for _ in range(count)]


def test_a_broken_candidate_is_rolled_back_at_the_first_look() -> None:
    assert {(run.outcome, run.intervals) for run in runs("5 req/s, single errors, 30.0%")} == {("rolledback", 1)}


def test_a_healthy_candidate_is_promoted() -> None:
    assert {run.outcome for run in runs("50 req/s, single errors, 0.2%")} == {"promoted"}


def test_an_outage_of_both_versions_rolls_nothing_back() -> None:
    assert "rolledback" not in {run.outcome for run in runs("5 req/s, an outage of 30 s hits both")}


def test_the_rules_of_others_roll_back_a_healthy_candidate() -> None:
    scenario = decisions.SCENARIOS[0]
    assert scenario.healthy
    _, candidate = both(np.random.default_rng(1), scenario.world)
    assert decisions.PEERS["2 failed intervals"](candidate).outcome == "rolledback"


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Every scenario, decided as it should be."""
    found = []
    for scenario in decisions.SCENARIOS:
        outcome = "promoted" if scenario.healthy else "rolledback"
        found.append(decisions.row(scenario, "tidegate", [decisions.Run(outcome, 31, 100)] * 100))
    return found


def test_right_decisions_reach_the_bar(rows: list[dict[str, Any]]) -> None:
    assert misses(rows) == []


@pytest.mark.parametrize(
    ("scenario", "field", "value", "said"),
    [
        ("50 req/s, bursts of 10, 0.2%", "rolledback", 0.02, "rolled back in 2.0% (at most 1%)"),
        ("50 req/s, bursts of 25, 0.2%", "rolledback", 0.06, "rolled back in 6.0% (at most 5%)"),
        ("5 req/s, single errors, 2.0%", "promoted", 0.02, "promoted in 2.0% (at most 1%)"),
        ("5 req/s, bursts of 5, breaks to 30%", "seenAfterIntervals", 4, "seen after 4 intervals (at most 3)"),
        ("5 req/s, bursts of 25, breaks to 30%", "seenAfterIntervals", 14, "(designed: 11)"),
        ("50 req/s, single errors, 0.2%", "promoted", 0.5, "promoted 50.0% (designed: 100%)"),
    ],
)
def test_a_cell_that_misses_the_bar_is_named(
    rows: list[dict[str, Any]], scenario: str, field: str, value: float, said: str
) -> None:
    next(row for row in rows if row["scenario"] == scenario)[field] = value
    missed = misses(rows)
    assert any(scenario in sentence and said in sentence for sentence in missed)


def test_the_plot_is_an_image(rows: list[dict[str, Any]]) -> None:
    peers = [{**row, "rule": rule} for row in rows for rule in decisions.PEERS]
    assert ElementTree.fromstring(plot(rows, peers)).tag.endswith("svg")
