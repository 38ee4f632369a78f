"""More than the server can do: `make bench-overload` asks for ten times as much, for three with large bodies.

For each model the peak comes first, and again at the end: as many answers a second as a closed loop gets.  In between
requests are due at a multiple of it, whatever the server answers; each one's time counts from when it was due.  There
are 3,000 clients: what is due while all of them wait for an answer is not sent.  Of tiny a client on one core cannot
ask for ten times the peak: there 3,000 connections ask again as soon as they are answered, and so do 640 over gRPC, ten
times as many as at the peak, whatever they are told.

Wanted: at least nine tenths of the peak, the rest refused with 429 within `--queue-timeout`, and a bounded wait for who
is let in.  On a machine that others use, too, answers per second of the server's CPU tell more than those per second;
three rounds, the one that is in the middle by that.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from benchmarks import grpc_load
from benchmarks.cells import CLIENT_CORE, pressed, usual
from benchmarks.docs import write_section
from benchmarks.flood import Flood, Flooded
from benchmarks.forms import FORMS
from benchmarks.load import Result, load
from benchmarks.machine import machine, sentence
from benchmarks.models import MODELS, BenchModel
from benchmarks.peers.systems import OURS, System
from benchmarks.processes import Started, leave_nothing_behind, on_core
from benchmarks.runtime import served

OUT = Path(__file__).resolve().parents[1] / "build/bench"
SECONDS = {"medium": 12.0}
ROUNDS = 3
USUAL_SECONDS = 8.0
CLIENTS = 3000  # and some hundred connections linger after a 429: below --max-connections in all


@dataclass(frozen=True, slots=True)
class Case:
    """One row: requests at a multiple of the peak, or so many clients that ask again at once."""

    model: str
    form: str = "binary"
    multiple: float | None = None
    clients: int = CLIENTS

    @property
    def name(self) -> str:
        return self.model if self.form == "binary" else f"{self.model}, gRPC"


CASES = (
    Case("wide", multiple=10.0), Case("small", multiple=3.0), Case("medium", multiple=3.0), Case("tiny"),
    Case("wide", "grpc", clients=640), Case("small", "grpc", clients=640), Case("tiny", "grpc", clients=640),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pace:
    """Answers with 200 a second, and per second of the server's CPU."""

    rate: float
    per_cpu_second: float

    def mean(self, other: Pace) -> Pace:
        return Pace((self.rate + other.rate) / 2, (self.per_cpu_second + other.per_cpu_second) / 2)


@dataclass(frozen=True, slots=True)
class Reading:
    """One model under one multiple of its peak; times in seconds, rates per second."""

    model: str
    peak: Pace
    asked: float  # how many times the peak; 0.0: every client asks again at once
    good: Pace
    accepted_p99: float
    refused: float
    refused_p99: float
    unsent: float
    broken: int

    @property
    def kept(self) -> float:
        return self.good.rate / self.peak.rate

    @property
    def kept_by_cpu(self) -> float:
        return self.good.per_cpu_second / self.peak.per_cpu_second


def middle(case: Case, rounds: int) -> Reading:
    model = MODELS[case.model]()
    readings = sorted((overload(case, model) for _ in range(rounds)), key=lambda one: one.kept_by_cpu)
    return readings[rounds // 2]


def overload(case: Case, model: BenchModel, system: System = OURS) -> Reading:
    with served(system, model) as server:
        before = peak(server, model, case.form)
        with on_core(CLIENT_CORE):
            seconds, request = SECONDS.get(model.name, USUAL_SECONDS), FORMS[case.form].write(model)
            if case.multiple is None:
                send, port = (grpc_load.load, server.grpc) if case.form == "grpc" else (load, server.http)
                used = server.cpu_seconds()
                closed = uvloop.run(send("127.0.0.1", port or 0, request, case.clients, seconds))
                used = server.cpu_seconds() - used
                return at_once(case.name, before.mean(peak(server, model, case.form)), closed, used)
            found, used = uvloop.run(flooded(server, request, case.multiple * before.rate, seconds))
        paces = before.mean(peak(server, model, case.form))
    answers, lasted = found.answers, found.seconds
    return Reading(
        case.name, paces, (found.sent + found.turned_away) / lasted / paces.rate,
        Pace(found.in_time[200] / lasted, answers[200] / used), found.quantile(200, 0.99), found.in_time[429] / lasted,
        found.quantile(429, 0.99), found.turned_away / lasted, sum(answers.values()) - answers[200] - answers[429],
    )  # fmt: skip


async def flooded(server: Started, request: bytes, rate: float, seconds: float) -> tuple[Flooded, float]:
    """What came of a flood, and the server's CPU seconds from its first request on."""
    flood = Flood(server.http, request, rate, CLIENTS)
    await flood.connect()
    used = server.cpu_seconds()
    found = await flood.run(seconds)
    return found, server.cpu_seconds() - used


def peak(server: Started, model: BenchModel, form: str) -> Pace:
    result, used = pressed(server, model, form, *usual(model, 1.0))
    return Pace(result.rps, result.requests / used)


def at_once(model: str, paces: Pace, found: Result, used: float) -> Reading:
    """What the closed loop saw, which does not tell accepted from refused but by their number."""
    good, slow = found.requests - found.errors, found.quantile(0.99)
    pace = Pace(good / found.seconds, good / used)
    return Reading(model, paces, 0.0, pace, slow, found.errors / found.seconds, slow, 0.0, 0)


def table(readings: Sequence[Reading]) -> str:
    lines = [
        "| model | peak, answers/s | asked for | goodput | of the peak | by CPU | p99 of accepted, s | 429 a second "
        "| p99 of those, s | not sent a second | broken |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in readings:
        asked = f"{one.asked:.1f} x" if one.asked else "at once"
        lines.append(
            f"| {one.model} | {one.peak.rate:.0f} | {asked} | {one.good.rate:.0f} | **{one.kept:.2f}** | "
            f"{one.kept_by_cpu:.2f} | {one.accepted_p99:.2f} | {one.refused:.0f} | {one.refused_p99:.2f} | "
            f"{one.unsent:.0f} | {one.broken} |"
        )
    return "\n".join(lines)


def main() -> int:
    leave_nothing_behind()
    parser = argparse.ArgumentParser(prog="benchmarks.overload", description=__doc__)
    parser.add_argument("--rows", default="", help=f"some of {'; '.join(case.name for case in CASES)} (else all)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/performance.md")
    given = parser.parse_args()
    wanted = [name.strip() for name in given.rows.split(";") if name.strip()]
    if wrong := set(wanted) - {case.name for case in CASES}:
        parser.error(f"not known: {', '.join(sorted(wrong))}")
    readings = [middle(case, given.rounds) for case in CASES if not wanted or case.name in wanted]
    text = f"{table(readings)}\n\n{sentence(machine())}"
    OUT.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(one), "kept": round(one.kept, 3), "keptByCpu": round(one.kept_by_cpu, 3)} for one in readings]
    (OUT / "overload.json").write_text(json.dumps({"rows": rows, "machine": machine()}, indent=1) + "\n")
    print(text)
    if given.write_docs:
        write_section("overload", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
