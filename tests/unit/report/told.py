"""A deployment's folder as a run leaves it, written row by row."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class Told:
    """What a run wrote down; times are seconds from START."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.totals: dict[str, list[int]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def row(self, at: float, weights: dict[str, int], events: list[Any] | None = None, **figures: Any) -> Told:
        """One row: each version of `weights` answers ten requests per percent, or what `figures` says of it."""
        versions = {}
        for revision, weight in weights.items():
            told = figures.get(revision, {})
            total = self.totals.setdefault(revision, [0, 0])
            total[0] += told.pop("n", weight * 10)
            total[1] += told.pop("bad", 0)
            versions[revision] = {
                "role": "stable", "version": f"1.{revision}", "requests": total[0], "errors": total[1],
                "rps": float(weight), "p50Ms": 2.0, "p99Ms": 9.0, "divergence": None, "ready": 1, **told,
            }  # fmt: skip
        when = (START + timedelta(seconds=at)).isoformat().replace("+00:00", "Z")
        return self.raw(
            {"at": when, "phase": "Serving", "step": None, "weights": weights, "versions": versions,
             "events": events or []}
        )  # fmt: skip

    def raw(self, row: object, name: str = "timeline.jsonl") -> Told:
        with (self.folder / name).open("a") as file:
            file.write((row if isinstance(row, str) else json.dumps(row)) + "\n")
        return self

    def keeps(self, **document: Any) -> Told:
        (self.folder / "deployment.json").write_text(json.dumps(document))
        return self


def event(reason: str, message: str = "", revision: str = "", *, warning: bool = False) -> dict[str, str]:
    return {"type": "Warning" if warning else "Normal", "reason": reason, "message": message, "revision": revision}


def rollback(folder: Path) -> Told:
    """Version a serves; b gets 10 %, is slow, and is rolled back; c is refused before it gets any traffic."""
    told = Told(folder)
    for at in range(5):
        told.row(at, {"a": 100}, [event("Promoted", "version 1.a is the stable version", "a")] if at == 0 else None)
    started = [event("RolloutStarted", "Spec: version 1.b starts", "b"), event("WeightRaised", "10 %", "b")]
    for at in range(5, 10):
        told.row(at, {"a": 90, "b": 10}, started if at == 5 else None, b={"p99Ms": 900.0, "p50Ms": 500.0, "bad": 1})
    slow = event("RolledBack", "LatencyExceeded: p99 of 84 ms exceeded by 100 %", "b", warning=True)
    told.row(10, {"a": 100, "b": 0}, [slow])
    refused = event("RolloutEnded", "GoldenMismatch: output differs", "c", warning=True)
    told.row(
        11, {"a": 100}, [refused, event("DigestMismatch", "model.onnx", warning=True), event("Paused", "by command")]
    )
    return told.keeps(
        spec={"rollout": {"analysis": {"maxLatency": {"p99": "84ms"}, "maxErrorRate": 0.05}}},
        status={
            "phase": "Serving",
            "stable": {"revision": "a"},
            "history": [{"revision": "b", "outcome": "RolledBack", "reason": "LatencyExceeded", "digest": "sha256:bb"}],
            "rollout": {"checks": [{"name": "errors", "verdict": "pass", "message": "error rate 0 % (limit 5 %)"}]},
        },
    )
