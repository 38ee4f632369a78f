"""How many runs each family of perturbations had: printed at the end of the tests, and kept in build/perturb.json.

The numbers P1 to P30 are those of the project's list of perturbations; the table names the modules that test the
families of ELSEWHERE.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

FAMILIES: Mapping[str, str] = {
    "P1": "killed after each write; away for a while",
    "P3": "two operators at once",
    "P5": "the clock steps back or forward",
    "P6": "a status that is lost, odd or of another version",
    "P7": "news of a kind comes late",
    "P8": "events are lost",
    "P9": "events are doubled",
    "P12": "each write fails once, or is changed on its way in",
    "P13": "the status conflicts five times",
    "P14": "the API server is down for 5 minutes",
    "P15": "a slow API server with 500 deployments",
    "P16": "the spec changes in each phase",
    "P17": "there and back for fields of the spec",
    "P18": "children are edited or deleted",
    "P19": "deleted in each phase, and made again",
    "P20": "names that are taken",
    "P22": "autoscalers move, or have no figures",
    "P23": "servers in trouble in each phase",
    "P24": "the stable version breaks",
    "P25": "pods are evicted",
    "P26": "counters cannot be read",
    "P28": "many deployments at the start",
    "P29": "a thousand changes, and nothing remembered of them",
    "random": "mixtures of all of these",
}
ELSEWHERE: Mapping[str, tuple[str, str]] = {
    "P2": ("killed between a child, the status and its event", "tests/perturb/test_cluster_crashes.py"),
    "P4": ("the Lease cannot be renewed", "tests/unit/cluster/test_lease_kept.py"),
    "P10": ("watches break in every way", "tests/unit/cluster/test_broken_watches.py"),
    "P11": ("lists fail, or expire between pages", "tests/unit/cluster/test_broken_watches.py"),
    "P30": ("told to end in the middle of a turn", "tests/cluster/test_leadership.py"),
}
COLUMNS = (("ended", 7), ("rejoined", 10), ("shared", 8))
RUNS: dict[str, Counter[str]] = {}
REPORT = Path(__file__).parents[2] / "build/perturb.json"


def ran(family: str, how: str = "ended", runs: int = 1) -> None:
    """Count runs: told to their end, until they had become the clean one again, or known from another story."""
    assert family in FAMILIES, family
    RUNS.setdefault(family, Counter())[how] += runs


def table() -> list[str]:
    """One line a family, in their order."""
    lines = [f"{'family':8}{'runs':>6}{'ended':>7}{'rejoined':>10}{'shared':>8}"]
    for family in sorted({*RUNS, *ELSEWHERE}, key=_place):
        if counts := RUNS.get(family):
            told = "".join(f"{counts[how]:>{width}}" for how, width in COLUMNS)
            lines.append(f"{family:8}{counts.total():>6}{told}  {FAMILIES[family]}")
        else:
            about, where = ELSEWHERE[family]
            lines.append(f"{family:8}{'':31}  {about}: {where}")
    return [*lines, f"{'all':8}{sum(counts.total() for counts in RUNS.values()):>6}"]


def _place(family: str) -> int:
    """The mixtures come last."""
    return int(family[1:]) if family[1:].isdigit() else 100


def write() -> None:
    REPORT.parent.mkdir(exist_ok=True)
    rows = [
        {"family": family, "about": FAMILIES[family], "runs": counts.total(), **counts}
        for family, counts in RUNS.items()
    ]
    REPORT.write_text(
        json.dumps({"rows": rows, "runs": sum(counts.total() for counts in RUNS.values())}, indent=1) + "\n"
    )
