"""Sums for the protocol's statistics extension (`GET …/stats`); rates and quantiles are in the metrics."""

from __future__ import annotations

import time
from typing import Any

NANOSECONDS = 1_000_000_000
SERVED = 200


class Statistics:
    """What was answered since the start. Written and read on the loop."""

    __slots__ = ("_compute", "_failed", "_failed_seconds", "_last", "_queue", "_rows", "_served", "_total")

    def __init__(self) -> None:
        self._served = self._failed = self._rows = 0
        self._queue = self._compute = self._total = self._failed_seconds = 0.0
        self._last = 0.0

    def answered(self, status: int, rows: int, queue: float, compute: float, total: float) -> None:
        if status != SERVED:
            self._failed += 1
            self._failed_seconds += total
            return
        self._served += 1
        self._rows += rows
        self._queue += queue
        self._compute += compute
        self._total += total
        self._last = time.time()

    def document(self, name: str, version: str) -> dict[str, Any]:
        """One entry of `model_stats`."""
        served = self._served
        return {
            "name": name,
            "version": version,
            "last_inference": int(self._last * 1000),
            "inference_count": self._rows,
            "execution_count": served,
            "inference_stats": {
                "success": _duration(served, self._total),
                "fail": _duration(self._failed, self._failed_seconds),
                "queue": _duration(served, self._queue),
                "compute_input": _duration(served, 0.0),
                "compute_infer": _duration(served, self._compute),
                "compute_output": _duration(served, 0.0),
            },
            "batch_stats": [],
        }


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": int(seconds * NANOSECONDS)}
