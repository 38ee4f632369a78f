"""Reading what the run wrote down: the rows of its timeline, what they say of one act, and the shares clients saw."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

Z = 3.2905  # 99.9 % of a normal distribution lie within
SETTLING = 0.5  # seconds around a change of weight that are not counted
ENDS = ("Promoted", "RolledBack", "RolloutEnded")


@dataclass(frozen=True, slots=True)
class End:
    """How the run ended an act."""

    outcome: str
    reason: str
    message: str
    revision: str
    at: float


def rows_since(path: Path, start: float) -> Iterator[dict[str, Any]]:
    """Rows of the timeline from `start` on, with `time` in seconds; a row being written is left for later."""
    for name in ("timeline.1.jsonl", path.name):
        file = path.with_name(name)
        for line in file.read_text().splitlines() if file.exists() else ():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            row["time"] = datetime.fromisoformat(row["at"]).timestamp()
            if row["time"] >= start:
                yield row


def end_of(rows: list[dict[str, Any]]) -> End | None:
    """The event that ends an act: promoted, rolled back, or a warning that nothing was let in."""
    for row in rows:
        for event in row["events"]:
            reason, _, message = event["message"].partition(": ")
            if event["reason"] == "Promoted":
                return End("promoted", "Promoted", event["message"], event["revision"], row["time"])
            if event["reason"] == "RolledBack":
                return End("rolledback", reason, message, event["revision"], row["time"])
            if event["reason"] == "RolloutEnded":
                return End("refused", reason, message, event["revision"], row["time"])
            if event["type"] == "Warning":
                return End("refused", event["reason"], event["message"], event["revision"], row["time"])
    return None


def steps(rows: list[dict[str, Any]], revision: str) -> list[tuple[int, float, float]]:
    """Weight, start and end of each step that `revision` went through, without the moments around the changes."""
    spans: list[tuple[int, float, float]] = []
    for row, after in itertools.pairwise(rows):
        weight = int(row["weights"].get(revision, 0))
        if spans and spans[-1][0] == weight:
            spans[-1] = (weight, spans[-1][1], after["time"])
        else:
            spans.append((weight, row["time"], after["time"]))
    inner = [(weight, start + SETTLING, end - SETTLING) for weight, start, end in spans if 0 < weight < 100]
    return [span for span in inner if span[2] > span[1]]


def observed(weight: int, counts: Counter[str], version: str) -> dict[str, Any]:
    """The share of `version` among these answers, with its 99.9 % interval (Wilson)."""
    total = sum(counts.values())
    share = counts[version] / total if total else 0.0
    spread = Z * math.sqrt(share * (1 - share) / total + Z * Z / (4 * total * total)) if total else 1.0
    scale = 1 + Z * Z / total if total else 1.0
    middle = (share + Z * Z / (2 * total)) / scale if total else 0.0
    return {
        "step": weight,
        "share": round(share, 4),
        "low": round(max(0.0, middle - spread / scale), 4),
        "high": round(min(1.0, middle + spread / scale), 4),
    }


def within(seen: dict[str, Any]) -> bool:
    """Whether the weight that was asked for lies in the interval."""
    return bool(seen["low"] <= seen["step"] / 100 <= seen["high"])
