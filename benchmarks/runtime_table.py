"""The readings of `make bench-runtime` as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.machine import sentence
from benchmarks.plot import bars

OURS = "tidegate"
Document = Mapping[str, Any]
# must, aim and beyond; and R of Triton 24.10 with its C++ backend of ONNX Runtime, which no package holds: measured
# earlier by this method, raw runs of 6.5 µs, 0.92 and 79 ms.
TARGETS = {
    ("tiny", "json"): (0.12, 0.22, 0.35), ("tiny", "binary"): (0.12, 0.20, 0.35), ("tiny", "grpc"): (0.025, 0.07, 0.14),
    ("small", "json"): (0.45, 0.55, 0.58), ("small", "binary"): (0.85, 0.90, 0.93),
    ("small", "grpc"): (0.58, 0.80, 0.82),
    ("medium", "json"): (0.92, 0.95, 0.96), ("medium", "binary"): (0.97, 0.985, 0.99),
    ("medium", "grpc"): (0.95, 0.98, 0.985),
}  # fmt: skip
TRITON_EARLIER = {
    ("tiny", "json"): "0.12", ("tiny", "binary"): "0.12", ("tiny", "grpc"): "0.07",
    ("small", "json"): "0.26", ("small", "binary"): "0.82", ("small", "grpc"): "0.60 to 0.82",
    ("medium", "json"): "0.85", ("medium", "binary"): "1.00", ("medium", "grpc"): "1.00",
}  # fmt: skip
OWN_FORMS = {"kserve": "json", "litserve": "json", "bentoml": "json"}
LIMITS = (
    ("process start to the first answer, small model, HTTP", "httpSeconds", "s", "0.70"),
    ("the same with the gRPC port", "grpcSeconds", "s", ""),
    ("memory then (RSS), HTTP", "httpRssMiB", "MiB", "90"),
    ("the same with the gRPC port", "grpcRssMiB", "MiB", "110"),
)
ADDED_MUST = 0.2


def page(found: Document) -> str:
    """Everything that was measured, in the order of docs/performance.md."""
    parts = [ours(found), peers(found), starts(found), alone(found), absent(found), sentence(found["machine"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def ours(found: Document) -> str:
    """One line for each of our own cells."""
    lines = [
        "| model | protocol | connections | R | lowest to highest | must | aim | beyond | Triton C++, earlier "
        "| CPU µs a request | a raw run | the server's own | req/s | p99 ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        key = row["model"], row["protocol"]
        if row["system"] == OURS:
            bounds = " | ".join(f"{bound:g}" for bound in TARGETS.get(key, ())) or " | | "
            cpu, raw = row["cpuUsPerRequest"], row["rawUs"]
            lines.append(
                f"| {key[0]} | {key[1]} | {row['concurrency']} | **{row['R']:.3f}** | {row['lowR']:.3f} to "
                f"{row['highR']:.3f} | {bounds} | {TRITON_EARLIER.get(key, '')} | {cpu:.1f} | {raw:.1f} | "
                f"{cpu - raw:.1f} | {row['rps']:.0f} | {row['p99Ms']:.1f} |"
            )
    return "\n".join(lines)


def peers(found: Document) -> str:
    """R of every system; nothing when only ours ran."""
    names = systems(found["rows"])
    if len(names) < 2:
        return ""
    lines = [f"| R | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for label, values in by_cell(found["rows"]).items():
        cells = (f"{values[name]:.3f}" if name in values else "" for name in names)
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def systems(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["system"] for row in rows))


def by_cell(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """R by model and protocol, then by system; a system's own JSON counts as JSON."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        protocol = OWN_FORMS.get(row["protocol"], row["protocol"])
        found.setdefault(f"{row['model']} {protocol}", {})[row["system"]] = row["R"]
    return found


def starts(found: Document) -> str:
    """Cold start and memory: ours against the limits, then everybody's."""
    own = found["own"]
    lines = ["| | measured | must |", "|---|---|---|"]
    lines += [f"| {what} | {own[key]:.3g} {unit} | {must} |" for what, key, unit, must in LIMITS if key in own]
    text = "\n".join(lines) if len(lines) > 2 else ""
    if len(found["starts"]) > 1:
        theirs = [
            f"| {name} | {one['seconds']:.2f} | {one['rssMiB']:.0f} | {one['pssMiB']:.0f} |"
            for name, one in found["starts"].items()
        ]
        head = ["", "| small model | start to first answer, s | RSS MiB | PSS MiB |", "|---|---|---|---|"]
        text = "\n".join([text, *head, *theirs])
    return text


def alone(found: Document) -> str:
    """One connection: what the way through the server adds to a run."""
    if not found["alone"]:
        return ""
    lines = ["| one request at a time | p50 ms | raw run ms | added ms | must |", "|---|---|---|---|---|"]
    for one in found["alone"]:
        must = f"{ADDED_MUST:g}" if one["system"] == OURS and one["protocol"] != "grpc" else ""
        label = " ".join(one[key] for key in ("system", "model", "protocol") if one[key] != OURS)
        lines.append(f"| {label} | {one['p50Ms']:.3f} | {one['rawMs']:.3f} | **{one['addedMs']:.3f}** | {must} |")
    return "\n".join(lines)


def absent(found: Document) -> str:
    return "\n".join(f"- not measured: {what}: {why}" for what, why in found["missing"].items())


def picture(found: Document) -> str:
    """R of every system as bars."""
    title = "R: CPU of a raw run / CPU of a served request (1 is the limit)"
    return bars(title, by_cell(found["rows"]), systems(found["rows"]))
