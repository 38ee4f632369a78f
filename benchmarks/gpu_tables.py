"""What `benchmarks.gpu` found, as tables and a plot: printed, and with `--write-docs` put into docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.docs import PAGE, write_section
from benchmarks.gpu_runs import Timed
from benchmarks.plot import bars

PLOT = "performance-gpu.svg"
BARE = "session.run"
PLOTTED = (BARE, "bound, pinned", "CUDA graph", "TensorRT", "TensorRT fp16", "TensorRT fp16, graph")


@dataclass(frozen=True, slots=True)
class Served:
    """The server under load: requests per second, of a row each, and how long they took; `failed`: why it never was."""

    model: str
    device: str
    connections: int = 0
    rps: float = 0.0
    p50: float = 0.0  # seconds
    p99: float = 0.0
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """From the start of a process to ready; `failed` says why it never was."""

    model: str
    what: str
    seconds: float = 0.0
    failed: str = ""


def cell(one: Timed) -> str:
    return f"{one.seconds * 1e3:.3g}" if not one.failed else "–"


def table(found: Sequence[Timed]) -> str:
    """Milliseconds of a run: a line for each model and number of rows, a column for each way that went anywhere."""
    names = list(dict.fromkeys(one.way for one in found if not one.failed))
    lines = [f"| model | rows | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for model, rows in dict.fromkeys((one.model, one.rows) for one in found):
        cells = {one.way: cell(one) for one in found if (one.model, one.rows) == (model, rows)}
        lines.append(f"| {model} | {rows} | {' | '.join(cells[name] for name in names)} |")
    return "\n".join([*lines, *_reasons([(one.way, one.failed) for one in found])])


def _reasons(failed: Sequence[tuple[str, str]]) -> list[str]:
    """A line for each reason, with all that failed for it."""
    by_reason: dict[str, list[str]] = {}
    for what, why in dict.fromkeys(failed):
        if why:
            by_reason.setdefault(why, []).append(what)
    return [f"\n– {'; '.join(names)}: {why}" for why, names in by_reason.items()]


def table_served(found: Sequence[Served]) -> str:
    """Requests per second and the slowest hundredth, a line for each model and way to serve it."""
    counts = sorted({one.connections for one in found if not one.failed})
    lines = [
        f"| model | device | {' | '.join(f'by {count}' for count in counts)} | p99 ms |",
        "|---|---|" + "---|" * (len(counts) + 1),
    ]
    for model, device in dict.fromkeys((one.model, one.device) for one in found if not one.failed):
        row = {one.connections: one for one in found if (one.model, one.device) == (model, device)}
        rates = " | ".join(f"{row[count].rps:,.0f}" if count in row else "–" for count in counts)
        slowest = ", ".join(f"{row[count].p99 * 1e3:.3g}" for count in counts if count in row)
        lines.append(f"| {model} | {device} | {rates} | {slowest} |")
    return "\n".join([*lines, *_reasons([(one.device, one.failed) for one in found])])


def table_starts(found: Sequence[Start]) -> str:
    lines = ["| model | start | seconds to ready |", "|---|---|---|"]
    lines += [f"| {one.model} | {one.what} | {one.seconds:.1f} |" for one in found if not one.failed]
    return "\n".join([*lines, *_reasons([(one.what, one.failed) for one in found])])


def plot(found: Sequence[Timed]) -> str:
    """How many times as fast as a bare session each way is."""
    bare = {(one.model, one.rows): one.seconds for one in found if one.way == BARE and not one.failed}
    groups: dict[str, dict[str, float]] = {}
    for one in found:
        if one.way in PLOTTED and not one.failed and (one.model, one.rows) in bare:
            groups.setdefault(f"{one.model} x{one.rows}", {})[one.way] = bare[one.model, one.rows] / one.seconds
    seen = [way for way in PLOTTED if any(way in group for group in groups.values())]
    return bars("Runs on a GPU: times as fast as a bare session.run", groups, seen)


def write_docs(document: Mapping[str, Any]) -> None:
    """Put what `gpu.json` holds, also one that was brought from another machine, into the page."""
    machine, runs = document["machine"], [Timed(**row) for row in document["runs"]]
    told = (
        f"{machine['gpu']}, driver {machine['driver']}, ONNX Runtime {machine['onnxruntime']}; milliseconds of a run:",
        table(runs),
        f"![ways to run]({PLOT})",
        "The server over HTTP, binary tensors of one row, its client on the same machine; requests per second by as "
        "many connections:",
        table_served([Served(**row) for row in document["served"]]),
        table_starts([Start(**row) for row in document["starts"]]),
    )
    write_section("gpu", "\n\n".join(told))
    PAGE.with_name(PLOT).write_text(plot(runs))
