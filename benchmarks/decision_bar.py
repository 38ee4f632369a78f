"""What `benchmarks.decisions` must reach, cell by cell (the bar of docs/analysis.md)."""

from __future__ import annotations

import re
from math import sqrt
from typing import Any

# What the first simulation of the design gave, about 100 runs a cell: (F at .2, .5, .8 %), (P at .2, .5, .8 %),
# (F at 2, 5 %), intervals until a break to 30 % is seen.  No cell may be worse beyond noise.
DESIGN: dict[str, tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...], float]] = {
    "5 req/s, single errors": ((0, 0, 0), (0.97, 0.20, 0.01), (0.79, 1), 1),
    "5 req/s, bursts of 5": ((0, 0, 0), (0.27, 0.04, 0.02), (0.07, 0.93), 3),
    "5 req/s, bursts of 25": ((0.02, 0.02, 0.03), (0.09, 0, 0), (0.04, 0.33), 11),
    "50 req/s, single errors": ((0, 0, 0), (1, 1, 0.15), (1, 1), 1),
    "50 req/s, bursts of 5": ((0, 0, 0), (1, 0.64, 0.07), (0.86, 1), 1),
    "50 req/s, bursts of 25": ((0, 0, 0.01), (0.54, 0.14, 0.03), (0.15, 1), 3),
}
DESIGN_RUNS = 100
SIGMAS = 3.0
HEALTHY, BAD = ("0.2%", "0.5%", "0.8%"), ("2.0%", "5.0%")


def misses(rows: list[dict[str, Any]]) -> list[str]:
    """One sentence for each cell that misses the bar."""
    return [*_too_often(rows), *_too_late(rows), *_worse_than_designed({row["scenario"]: row for row in rows})]


def _burst(row: dict[str, Any]) -> int:
    found = re.search(r"bursts of (\d+)", row["scenario"])
    return int(found[1]) if found else 1


def _too_often(rows: list[dict[str, Any]]) -> list[str]:
    missed = []
    for row in rows:
        if row["healthy"]:
            most = 0.01 if _burst(row) <= 10 else 0.05
            if row["rolledback"] > most:
                missed.append(
                    f"{row['scenario']}: healthy, rolled back in {row['rolledback']:.1%} (at most {most:.0%})"
                )
        elif row["promoted"] > 0.01:
            missed.append(f"{row['scenario']}: bad, promoted in {row['promoted']:.1%} (at most 1%)")
    return missed


def _too_late(rows: list[dict[str, Any]]) -> list[str]:
    return [
        f"{row['scenario']}: seen after {row['seenAfterIntervals']} intervals (at most 3)"
        for row in rows
        if "breaks to 30%" in row["scenario"] and _burst(row) <= 5 and not (row["seenAfterIntervals"] or 99) <= 3
    ]


def _worse_than_designed(rows: dict[str, dict[str, Any]]) -> list[str]:
    missed = []
    for where, (false_alarms, passes, found, seen) in DESIGN.items():
        for share, alarm, passed in zip(HEALTHY, false_alarms, passes, strict=True):
            row = rows[f"{where}, {share}"]
            missed += _beyond(row, "rolledback", alarm, 1) + _beyond(row, "promoted", passed, -1)
        for share, failed in zip(BAD, found, strict=True):
            missed += _beyond(rows[f"{where}, {share}"], "rolledback", failed, -1)
        after = rows[f"{where}, breaks to 30%"]["seenAfterIntervals"]
        if not (after or 99) <= seen + 1:
            missed.append(f"{where}, breaks to 30%: seen after {after} intervals (designed: {seen})")
    return missed


def _beyond(row: dict[str, Any], what: str, designed: float, direction: int) -> list[str]:
    """Whether a share is worse than designed by more than the noise of both simulations."""
    share = min(max(designed, 0.5 / DESIGN_RUNS), 1 - 0.5 / DESIGN_RUNS)
    noise = SIGMAS * sqrt(share * (1 - share) * (1 / DESIGN_RUNS + 1 / row["runs"]))
    if direction * (row[what] - designed) <= noise:
        return []
    return [f"{row['scenario']}: {what} {row[what]:.1%} (designed: {designed:.0%})"]
