"""The server beside raw ONNX Runtime, and beside its peers: `make bench-runtime` and `make bench-peers`.

All systems of a run share core 0 and its rounds: each round gives every system and protocol a turn, with raw runs
between the turns, and the middle one of a cell's rounds counts.  Writes build/bench/runtime.json, runtime.md and the
plot; docs/performance.md only when told to.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cells import Cell, Raw, WrongAnswer, check_answer, pressed, usual
from benchmarks.docs import PAGE, write_section
from benchmarks.forms import FORMS, ask
from benchmarks.machine import machine
from benchmarks.models import MODELS, BenchModel
from benchmarks.packages import NotInstalled
from benchmarks.peers.systems import ALL, BARE, OURS, System, runtime
from benchmarks.processes import Started, leave_nothing_behind
from benchmarks.runtime_table import page, picture

OUT = Path(__file__).resolve().parents[1] / "build/bench"
ROUNDS = 9  # a neighbour on the machine moves single ones by a tenth
ROUNDS_BESIDE_PEERS = 3
STARTS = 5
ALONE = (("tiny", "json"), ("tiny", "binary"), ("tiny", "grpc"), ("small", "binary"), ("small", "grpc"))
ALONE_SECONDS = 0.2
ALONE_ROUNDS = 15  # a raw run takes a third longer in one second than in the next
FAULTS = (NotInstalled, RuntimeError, WrongAnswer, OSError, TimeoutError)


@dataclass(slots=True)
class Found:
    """Everything that one run measured."""

    cells: list[Cell] = field(default_factory=list)
    starts: dict[str, dict[str, float]] = field(default_factory=dict)
    alone: list[dict[str, Any]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)  # system, model and protocol -> why there is no figure
    ranges: dict[tuple[str, str, str], tuple[float, float]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        ours = self.starts.get(OURS.name, {})
        rows = []
        for cell in self.cells:
            low, high = self.ranges[cell.system, cell.model, cell.protocol]
            rows.append({**cell.row(), "lowR": round(low, 4), "highR": round(high, 4)})
        return {
            "rows": rows, "coldStartSeconds": ours.get("httpSeconds"), "rssMiB": ours.get("httpRssMiB"), "own": ours,
            "starts": self.starts, "alone": self.alone, "missing": self.missing, "machine": machine(),
        }  # fmt: skip


@contextlib.contextmanager
def served(system: System, model: BenchModel) -> Iterator[Started]:
    """The system with the model, from its first answer on; raises NotInstalled or RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        server = Started(system.prepare(model, folder), folder / "log", answers(model, system.protocols[0]))
        try:
            yield server
        finally:
            server.stop()


def answers(model: BenchModel, protocol: str) -> Any:
    """Whether a port answers the model's request."""
    request = FORMS[protocol].write(model)

    def look(port: int) -> bool:
        try:
            return ask(port, request)[0] == 200
        except OSError:
            return False

    return look


def measure_model(model: BenchModel, systems: Sequence[System], options: argparse.Namespace, found: Found) -> None:
    """All cells of one model, and of the small model what a start costs."""
    raw = Raw(model)
    with contextlib.ExitStack() as running:
        servers = {}
        for system in systems:
            try:
                servers[system] = running.enter_context(served(system, model))
            except FAULTS as fault:
                found.missing[f"{system.name}, {model.name}"] = str(fault)
        if model.name == "small":
            for system, server in servers.items():
                found.starts[system.name] = {
                    "seconds": round(server.cold_start, 3), "rssMiB": round(server.rss_mib(), 1),
                    "pssMiB": round(server.pss_mib(), 1),
                }  # fmt: skip
        turns = checked(servers, model, raw, found)
        rounds = [one_round(turns, model, raw, options.scale) for _ in range(options.rounds)]
        for column in zip(*rounds, strict=True):
            ordered = sorted(column, key=lambda cell: cell.ratio)
            middle = ordered[len(ordered) // 2]
            found.cells.append(middle)
            found.ranges[middle.system, middle.model, middle.protocol] = (ordered[0].ratio, ordered[-1].ratio)
        measure_alone(turns, model, raw, found)


Turn = tuple[str, Started, str]


def checked(servers: Mapping[System, Started], model: BenchModel, raw: Raw, found: Found) -> list[Turn]:
    """Systems and protocols that give ONNX Runtime's own answer."""
    turns = []
    for system, server in servers.items():
        for protocol in system.protocols:
            try:
                check_answer(server, model, protocol, raw.answer())
            except WrongAnswer as fault:
                found.missing[f"{system.name}, {model.name}, {protocol}"] = str(fault)
            else:
                turns.append((system.name, server, protocol))
    return turns


def one_round(turns: Sequence[Turn], model: BenchModel, raw: Raw, scale: float) -> list[Cell]:
    """Each one's turn, raw runs between them."""
    cells, before = [], raw.seconds()
    connections, seconds = usual(model, scale)
    for name, server, protocol in turns:
        print(f"{model.name} {protocol} {name}", file=sys.stderr, flush=True)
        result, used = pressed(server, model, protocol, connections, seconds)
        after = raw.seconds()
        cells.append(
            Cell(name, model.name, protocol, connections, (before + after) / 2, used / result.requests, result)
        )
        before = after
    return cells


def measure_alone(turns: Sequence[Turn], model: BenchModel, raw: Raw, found: Found) -> None:
    """What one request at a time takes beyond a raw run, with our server and with the bare one."""
    looked_at = [turn for turn in turns if turn[0] in (OURS.name, BARE.name) and (model.name, turn[2]) in ALONE]
    rounds = [one_round_alone(looked_at, model, raw) for _ in range(ALONE_ROUNDS)]
    for (name, _, protocol), column in zip(looked_at, zip(*rounds, strict=True), strict=True):
        medians = {key: round(statistics.median(one[key] for one in column) * 1e3, 4) for key in column[0]}
        found.alone.append({"system": name, "model": model.name, "protocol": protocol, **medians})


def one_round_alone(turns: Sequence[Turn], model: BenchModel, raw: Raw) -> list[dict[str, float]]:
    """Each one's short turn, raw runs between them; seconds."""
    rows, before = [], raw.latency()
    for _, server, protocol in turns:
        result, _ = pressed(server, model, protocol, 1, ALONE_SECONDS)
        after, asked = raw.latency(), result.quantile(0.5)
        run, before = (before + after) / 2, after
        rows.append({"rawMs": run, "p50Ms": asked, "p99Ms": result.quantile(0.99), "addedMs": asked - run})
    return rows


def own_starts(found: Found) -> None:
    """Our own server with the small model, with and without gRPC: the median of several starts."""
    model = MODELS["small"]()
    for key, with_grpc in (("http", False), ("grpc", True)):
        system = System(key, ("binary",), partial(runtime, with_grpc=with_grpc))
        seen = []
        for _ in range(STARTS):
            with served(system, model) as server:
                seen.append((server.cold_start, server.rss_mib()))
        seconds, rss = (statistics.median(column) for column in zip(*seen, strict=True))
        found.starts[OURS.name] |= {f"{key}Seconds": round(seconds, 3), f"{key}RssMiB": round(rss, 1)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.runtime", description=__doc__)
    parser.add_argument(
        "--peers", default=BARE.name, help=f"others to measure in the same run: all, or some of {','.join(ALL)}"
    )
    parser.add_argument("--models", default="tiny,small,medium", help=f"some of {','.join(MODELS)}")
    parser.add_argument("--rounds", type=int, help=f"usually {ROUNDS}, beside peers {ROUNDS_BESIDE_PEERS}")
    parser.add_argument("--scale", type=float, default=1.0, help="how much longer a turn is than usual")
    parser.add_argument("--write-docs", action="store_true", help="put table and plot into docs/performance.md")
    given = parser.parse_args()
    given.peers = list(ALL) if given.peers == "all" else [name for name in given.peers.split(",") if name]
    given.models = given.models.split(",")
    given.rounds = given.rounds or (ROUNDS if set(given.peers) <= {BARE.name} else ROUNDS_BESIDE_PEERS)
    if wrong := [name for name in given.peers if name not in ALL] + [
        name for name in given.models if name not in MODELS
    ]:
        parser.error(f"not known: {', '.join(wrong)}")
    return given


def main() -> int:
    leave_nothing_behind()
    given = arguments()
    found = Found()
    for name in given.models:
        measure_model(MODELS[name](), [OURS, *(ALL[peer] for peer in given.peers)], given, found)
    if OURS.name in found.starts:
        own_starts(found)
    document = found.document()
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "runtime.json").write_text(json.dumps(document, indent=1) + "\n")
    (OUT / "runtime.svg").write_text(picture(document))
    (OUT / "runtime.md").write_text(page(document))
    print(page(document))
    if given.write_docs:
        write_section("runtime", page(document))
        (PAGE.with_suffix(".svg")).write_text(picture(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
