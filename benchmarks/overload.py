"""More than the server can do: `make bench-overload` asks for ten times as much, for three with large bodies.

For each model the peak comes first: as many answers a second as a closed loop gets.  Then requests are due at a
multiple of it, whatever the server answers; each one's time counts from when it was due.  Wanted: at least nine
tenths of the peak, the rest refused with 429 within `--queue-timeout`, and a bounded wait for who is let in.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from benchmarks.cells import CLIENT_CORE, pressed, usual
from benchmarks.docs import write_section
from benchmarks.flood import Flood
from benchmarks.forms import FORMS
from benchmarks.machine import machine, sentence
from benchmarks.models import MODELS, BenchModel
from benchmarks.peers.systems import OURS, System
from benchmarks.processes import on_core
from benchmarks.runtime import served

OUT = Path(__file__).resolve().parents[1] / "build/bench"
CASES = (("wide", 10.0), ("small", 3.0), ("medium", 3.0), ("tiny", 10.0))
SECONDS = {"medium": 25.0}
USUAL_SECONDS = 8.0
CONNECTIONS = 2048
QUEUE_TIMEOUT = 10.0
FORM = "binary"


@dataclass(frozen=True, slots=True)
class Reading:
    """One model under one multiple of its peak; times in seconds, rates per second."""

    model: str
    wanted: float
    offered: float
    peak: float
    goodput: float
    accepted_p99: float
    refused: float
    refused_p99: float
    broken: int

    @property
    def kept(self) -> float:
        return self.goodput / self.peak


def overload(model: BenchModel, wanted: float, system: System = OURS) -> Reading:
    with served(system, model) as server:
        result, _ = pressed(server, model, FORM, *usual(model, 2.0))
        flood = Flood(server.http, FORMS[FORM].write(model), wanted * result.rps, CONNECTIONS)
        with on_core(CLIENT_CORE):
            found = uvloop.run(flood.run(SECONDS.get(model.name, USUAL_SECONDS)))
    answers = found.answers
    return Reading(
        model.name, wanted, found.sent / found.seconds / result.rps, result.rps, answers[200] / found.seconds,
        found.quantile(200, 0.99), answers[429] / found.seconds, found.quantile(429, 0.99),
        sum(answers.values()) - answers[200] - answers[429],
    )  # fmt: skip


def table(readings: Sequence[Reading]) -> str:
    lines = [
        "| model | peak, answers/s | asked for | goodput | of the peak | p99 of accepted, s | 429 a second "
        "| p99 of those, s | broken |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.model} | {one.peak:.0f} | {one.offered:.1f} x | {one.goodput:.0f} | **{one.kept:.2f}** | "
        f"{one.accepted_p99:.2f} | {one.refused:.0f} | {one.refused_p99:.2f} | {one.broken} |"
        for one in readings
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.overload", description=__doc__)
    parser.add_argument("--models", default=",".join(name for name, _ in CASES))
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/performance.md")
    given = parser.parse_args()
    readings = [overload(MODELS[name](), wanted) for name, wanted in CASES if name in given.models.split(",")]
    text = f"{table(readings)}\n\n{sentence(machine())}"
    OUT.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(one), "kept": round(one.kept, 3)} for one in readings]
    (OUT / "overload.json").write_text(json.dumps({"rows": rows, "machine": machine()}, indent=1) + "\n")
    print(text)
    if given.write_docs:
        write_section("overload", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
