"""How often the rollout rule decides rightly, beside the rules of other tools: `make bench-decisions`.

Traffic is simulated (benchmarks/decision_traffic.py); every verdict comes from the product's own `accumulate`, `judge`
and `at_deadline`, reading by reading, as a rollout calls them.  Writes build/bench/decisions.json, and ends with 1 when
a cell misses the bar of docs/analysis.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import Pool
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from benchmarks.decision_bar import misses
from benchmarks.decision_plot import plot
from benchmarks.decision_traffic import INTERVAL, SECONDS, START, Counters, World, both, series

from tidegate.api.rollout import Analysis
from tidegate.plan.evidence import Reading, Start, accumulate, begin
from tidegate.plan.verdict import AtDeadline, Outcome, at_deadline, judge

LIMIT = 0.01
ANALYSIS = Analysis.model_validate(
    {
        "maxErrorRate": LIMIT,
        "interval": f"{INTERVAL}s",
        "warmup": "0s",
        "deadline": f"{SECONDS}s",
        "minRequests": 20,  # below what any first interval here brings: the tests alone decide
    }
)
HORIZON = timedelta(seconds=SECONDS)
STEP = timedelta(seconds=INTERVAL)
LOOKS = SECONDS // INTERVAL
BREAK = 300  # the second in which a candidate breaks
OUTAGE = (150, 180)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One cell of a table."""

    group: str
    name: str
    world: World
    healthy: bool
    breaks: bool = False  # a pass before it breaks is right and ends nothing
    share: Callable[[int], str] = lambda _: "10"


@dataclass(frozen=True, slots=True)
class Run:
    """How one simulated rollout ended; `held` is whether it was held because both versions were bad alike."""

    outcome: str  # rolledback, promoted, inconclusive
    intervals: int
    requests: int
    held: bool = False
    deadline: str = ""


# The product's rule.


def decide(scenario: Scenario, stable: Counters, candidate: Counters) -> Run:
    """One rollout, judged by the product after every interval."""
    first = [stable.sample("stable", 0), candidate.sample("candidate", 0)]
    evidence, held, judgement = begin(ANALYSIS, Start("stable", "candidate", first, START)), False, None
    for look in range(1, LOOKS + 1):
        now = look * INTERVAL
        samples = [stable.sample("stable", now), candidate.sample("candidate", now)]
        share = scenario.share(now - INTERVAL)
        reading = Reading(samples, share, 1, STEP, timedelta(0), START + timedelta(seconds=now))
        evidence = accumulate(evidence, reading)
        judgement = judge(ANALYSIS, evidence, HORIZON)
        held |= judgement.outcome == Outcome.SHARED
        if judgement.outcome == Outcome.FAIL:
            return Run("rolledback", look, evidence.candidate.requests, held)
        if judgement.outcome == Outcome.PASS and not scenario.breaks:
            return Run("promoted", look, evidence.candidate.requests, held)
    assert judgement is not None
    action = at_deadline(ANALYSIS, judgement).action
    end = "promoted" if action == AtDeadline.PROMOTE else "rolledback"
    return Run("inconclusive", LOOKS, evidence.candidate.requests, held, end)


# The rules of others: so many intervals above the limit.


def threshold(failures: int, in_a_row: bool, candidate: Counters) -> Run:
    """A rollout that goes back after `failures` intervals above the limit, and is promoted otherwise."""
    seen = 0
    for look in range(1, LOOKS + 1):
        old, new = (candidate.sample("", at * INTERVAL).requests for at in (look - 1, look))
        n, bad = new.n - old.n, new.errors.bad - old.errors.bad
        failed = bad > n * LIMIT
        seen = seen + 1 if failed else 0 if in_a_row else seen
        if seen == failures:
            return Run("rolledback", look, new.n)
    return Run("promoted", LOOKS, candidate.sample("", SECONDS).requests.n)


PEERS: dict[str, Callable[[Counters], Run]] = {
    "2 failed intervals": lambda c: threshold(2, False, c),
    "5 failed intervals": lambda c: threshold(5, False, c),
    "3 in a row": lambda c: threshold(3, True, c),
}


# The scenarios.


def plain(rps: float, burst: int, spread: int, share: float, stable: float = 0.0) -> World:
    """A candidate with a constant true rate beside a stable version with nine times the traffic."""
    own = series(stable or min(share, 0.002))
    return World(series(9 * rps), series(rps), own, series(share), burst, spread)


def rates() -> Iterator[Scenario]:
    """Constant rates at two loads, in bursts of different size: healthy below the limit, bad at 2 and 5 times it."""
    for rps in (5, 50):
        for burst, spread in ((1, 1), (5, 1), (5, 5), (10, 1), (10, 5), (25, 1), (25, 5)):
            where = f"{rps} req/s, {_bursts(burst, spread)}"
            for share in (0.002, 0.005, 0.008, 0.02, 0.05):
                stable = share if share < LIMIT else 0.002
                yield Scenario(
                    "rates", f"{where}, {share:.1%}", plain(rps, burst, spread, share, stable), share < LIMIT
                )
            for broken in (0.3, 0.1):
                world = World(
                    series(9 * rps),
                    series(rps),
                    series(0.003),
                    series(0.003, (BREAK, SECONDS, broken)),
                    burst,
                    spread,
                )
                yield Scenario("breaks", f"{where}, breaks to {broken:.0%}", world, False, breaks=True)


def _bursts(burst: int, spread: int) -> str:
    if burst == 1:
        return "single errors"
    return f"bursts of {burst}" + (f" over {spread} s" if spread > 1 else "")


def broken() -> Iterator[Scenario]:
    """A candidate that is broken from the start."""
    yield Scenario("rates", "5 req/s, single errors, 30.0%", plain(5, 1, 1, 0.3), False)


def shared() -> Iterator[Scenario]:
    """Swings that hit both versions: not the candidate's doing."""
    for rps in (5, 50):
        outage = series(0.002, (*OUTAGE, 0.5))
        world = World(series(9 * rps), series(rps), outage, outage)
        yield Scenario("shared", f"{rps} req/s, an outage of 30 s hits both", world, True)
        slump = series(0.002, (100, 400, 0.03))
        world = World(series(9 * rps), series(rps), slump, slump)
        yield Scenario("shared", f"{rps} req/s, both at 3 % for five minutes", world, True)


def traffic() -> Iterator[Scenario]:
    """Unequal and shifting traffic."""
    for stable, own in ((495, 5), (5, 5), (5, 45)):
        for share in (0.002, 0.02):
            world = World(series(stable), series(own), series(0.002), series(share))
            yield Scenario("traffic", f"{stable} against {own} req/s, {share:.1%}", world, share < LIMIT)
    at = np.arange(-600, SECONDS)
    load = 1 + 0.8 * np.sin(2 * np.pi * at / 300)
    swing = 0.004 + 0.0035 * np.sin(2 * np.pi * at / 600)
    part = np.where(at < BREAK, 0.1, 0.5)
    for share, healthy in ((1.0, True), (6.0, False)):
        world = World(50 * load * (1 - part), 50 * load * part, swing, swing * share)
        name = f"load and rates swing, 10 % then 50 % of the traffic, {share:g} times the stable version's errors"
        yield Scenario("traffic", name, world, healthy, share=lambda second: "10" if second < BREAK else "50")


SCENARIOS = [*rates(), *broken(), *shared(), *traffic()]


# Running them.


def simulate(job: tuple[int, int]) -> dict[str, list[Run]]:
    """All runs of one scenario, by rule; the same numbers on every machine."""
    place, runs = job
    scenario = SCENARIOS[place]
    rng = np.random.default_rng(zlib.crc32(scenario.name.encode()))
    found: dict[str, list[Run]] = {"tidegate": [], **{rule: [] for rule in PEERS}}
    for _ in range(runs):
        stable, candidate = both(rng, scenario.world)
        found["tidegate"].append(decide(scenario, stable, candidate))
        for rule, peer in PEERS.items():
            found[rule].append(peer(candidate))
    return found


def row(scenario: Scenario, rule: str, runs: list[Run]) -> dict[str, Any]:
    """One line of the JSON; shares of the runs, medians over those that were decided by evidence."""
    decided = [run for run in runs if run.outcome != "inconclusive"]
    back = [run for run in runs if run.outcome == "rolledback"]

    def share(outcome: str) -> float:
        return round(sum(run.outcome == outcome for run in runs) / len(runs), 4)

    found: dict[str, Any] = {
        "scenario": scenario.name,
        "group": scenario.group,
        "healthy": scenario.healthy,
        "rule": rule,
        "runs": len(runs),
        "rolledback": share("rolledback"),
        "promoted": share("promoted"),
        "inconclusive": share("inconclusive"),
        "medianRequests": median(run.requests for run in decided) if decided else None,
    }
    if rule == "tidegate":
        late = BREAK // INTERVAL if scenario.breaks else 0
        found["early"] = round(sum(run.intervals <= late for run in back) / len(runs), 4)
        found["seenAfterIntervals"] = median(run.intervals - late for run in back) if back else None
        found["held"] = round(sum(run.held for run in runs) / len(runs), 4)
        found["promotedAtDeadline"] = round(sum(run.deadline == "promoted" for run in runs) / len(runs), 4)
        found["rolledbackAtDeadline"] = round(sum(run.deadline == "rolledback" for run in runs) / len(runs), 4)
    return found


def results(runs: int, processes: int, only: str) -> dict[str, list[dict[str, Any]]]:
    """The scenarios under all rules."""
    jobs = [(place, runs) for place, scenario in enumerate(SCENARIOS) if only in scenario.name]
    rows: list[dict[str, Any]] = []
    peers: list[dict[str, Any]] = []
    with Pool(processes, initializer=os.nice, initargs=(10,)) as pool:
        for (place, _), found in zip(jobs, pool.imap(simulate, jobs), strict=True):
            if sys.stderr.isatty():
                print(f"\r{len(rows) + 1} of {len(jobs)} scenarios", end="", file=sys.stderr)
            rows.append(row(SCENARIOS[place], "tidegate", found["tidegate"]))
            peers += [row(SCENARIOS[place], rule, found[rule]) for rule in PEERS]
    return {"rows": rows, "peers": peers}


# Printing.


def first_table(found: dict[str, list[dict[str, Any]]]) -> None:
    """One candidate under all rules."""
    names = [f"5 req/s, single errors, {share:.1%}" for share in (0.002, 0.005, 0.02, 0.05, 0.3)]
    names.append("5 req/s, an outage of 30 s hits both")
    print(f"\nrolled back, by rule (candidate 5 req/s, limit {LIMIT:.0%}, {INTERVAL} s intervals, {SECONDS} s)")
    print(f"{'':40}" + "".join(f"{rule:>22}" for rule in [*PEERS, "tidegate"]) + "  median requests, passed, undecided")
    for name in names:
        own = next(r for r in found["rows"] if r["scenario"] == name)
        others = [next(r for r in found["peers"] if r["scenario"] == name and r["rule"] == rule) for rule in PEERS]
        cells = "".join(f"{r['rolledback']:>22.0%}" for r in [*others, own])
        print(f"{name:40}{cells}  {own['medianRequests']}, {own['promoted']:.0%}, {own['inconclusive']:.0%}")


def second_table(rows: list[dict[str, Any]]) -> None:
    """The product's rule in every cell."""
    print("\ntidegate: F rolled back, P passed by evidence, then undecided ones promoted/rolled back at the deadline")
    for r in rows:
        seen = "-" if r["seenAfterIntervals"] is None else f"{r['seenAfterIntervals']:g}"
        early = f" early {r['early']:.1%}" if r["group"] == "breaks" and r["early"] else ""
        print(
            f"{r['scenario']:92} {'healthy' if r['healthy'] else 'bad':8}"
            f"F {r['rolledback']:6.1%}  P {r['promoted']:6.1%}  deadline {r['promotedAtDeadline']:6.1%}/"
            f"{r['rolledbackAtDeadline']:6.1%}  held {r['held']:6.1%}  after {seen} intervals{early}"
        )


def main() -> int:
    """Run, print, write, and compare with the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="simulated rollouts in each cell")
    parser.add_argument("--only", default="", help="only scenarios with this in their name; nothing is written")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--output", type=Path, default=Path("build/bench/decisions.json"))
    parser.add_argument("--plot", type=Path, help="write the plot of docs/analysis.md here")
    arguments = parser.parse_args()
    found = results(arguments.runs, arguments.processes, arguments.only)
    second_table(found["rows"])
    if arguments.only:
        return 0
    first_table(found)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.plot:
        arguments.plot.write_text(plot(found["rows"], found["peers"]))
    missed = misses(found["rows"])
    print(*["", *missed] if missed else ["\nevery cell reaches the bar"], sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
