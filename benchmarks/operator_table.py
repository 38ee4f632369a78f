"""The figures of the operator beside those of its peers, as a table and as a plot.

Peers were measured on the same kind of machine, each with one sample, at their defaults: Argo Rollouts 1.9.3,
Flagger 1.44.0, KServe 0.17.0.  Theirs at the start were 1,000 objects, at rest 200, and nothing was answered for them
by a Job.  Argo's canary had five steps, Flagger's 94 s in all; KServe has none outside of Knative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.plot import bars

PEERS = ("Argo Rollouts", "Flagger", "KServe")
OURS = "tidegate"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; peers in their order, None where there is no such thing."""

    what: str
    key: str
    must: str = ""
    peers: tuple[float | None, ...] = (None, None, None)
    bar: str = ""  # its name in the plot


ROWS = (
    Row("{newObjects:,} new ones until all Ready, seconds", "newObjectsReadySeconds", "< 80", (160, 251, 552), "new"),
    Row("{knownObjects:,} without the resolve Job (peers have none), seconds", "knownObjectsReadySeconds", "< 80",
        (160, 251, 552), "new, no Job"),
    Row("writes per new object", "writesPerNewObject", "<= 12", (7, 7, 11), "writes per new"),
    Row("reads per new object", "readsPerNewObject", "", (3, 22, 16), "reads per new"),
    Row("events per new object", "eventsPerNewObject"),
    Row("a new operator has looked at {objects:,}, seconds", "firstReconcileSeconds", "", (65, None, 268)),
    Row("writes of that", "writesPerNoopResync", "0", (0, 0, 1000)),
    Row("events of that", "eventsAtStart", "0", (1000, None, 1001)),
    Row("memory after that, the highest, MiB", "rssMiB", "< 200", (205, 120, 221), "memory"),
    Row("writes in a minute at rest, {objectsAtRest:,} objects", "writesAtRest", "0", (0, 0, 0)),
    Row("reads of that", "readsAtRest", "0", (0, 1840, 0)),
    Row("CPU of that, % of a core", "cpuPercentAtRest", "< 0.3", (0.25, 1.8, 0.16)),
    Row("writes of a canary of 5 steps, {rolloutHoldMinutes:g} min of holds", "writesPerRollout",
        "<= 30 + 1 a minute", (45, 16, None), "canary: writes"),
    Row("events of that", "eventsPerRollout", "<= 10", (19, None, None)),
    Row("one look with {apiLatencyMs:g} ms more to the API server, p99 ms", "reconcileP99Ms", "< 250"),
    Row("leader killed, until a change is heeded, seconds", "failoverSeconds", "<= 18", (17.6, 87, 52),
        "leader killed"),
    Row("leader told to end, the same, seconds", "handoverSeconds", "<= 2"),
    Row("leader killed among {crowd:,}, the same, seconds", "failoverSecondsCrowded"),
    Row("leader told to end among {crowd:,}, the same, seconds", "handoverSecondsCrowded"),
    Row("a change is heeded, p99 ms", "othersP99Ms"),
    Row("the same beside an object with {hotObjectChangesPerSecond:g} changes a second, p99 ms",
        "othersP99MsBesideHotObject"),
)  # fmt: skip


def table(found: Mapping[str, Any]) -> str:
    """As Markdown; only what was measured."""
    head = ["| | measured | must | " + " | ".join(PEERS) + " |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *(line(row, found) for row in ROWS if row.key in found), *asides(found)])


def line(row: Row, found: Mapping[str, Any]) -> str:
    peers = " | ".join("" if peer is None else f"{peer:g}" for peer in row.peers)
    return f"| {row.what.format_map(found)} | **{found[row.key]:g}** | {row.must} | {peers} |"


def asides(found: Mapping[str, Any]) -> list[str]:
    """Figures that are no single numbers."""
    named = (
        "writesPerNewObjectByKind", "newObjectsCpuSeconds", "knownObjectsCpuSeconds", "writesAtStartByKind",
        "readsAtStart", "writesPerRolloutByKind", "loadAverage",
    )  # fmt: skip
    return ["", *(f"{name}: {found[name]}" for name in named if name in found)]


def picture(found: Mapping[str, Any]) -> str:
    """Each figure as a share of Argo Rollouts' own, which is 1."""
    groups = {}
    for row in ROWS:
        first = row.peers[0]
        if row.bar and first and row.key in found:
            values = dict(zip((OURS, *PEERS), (found[row.key], *row.peers), strict=True))
            groups[row.bar] = {name: value / first for name, value in values.items() if value is not None}
    return bars("Against Argo Rollouts at its defaults, which is 1 (less is better)", groups, [OURS, *PEERS])
