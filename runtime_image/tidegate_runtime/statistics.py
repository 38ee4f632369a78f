"""Sums for the protocol's statistics extension (`GET …/stats`); rates and quantiles are in the metrics.

Requests are counted when they are answered, runs when they end: requests that share a run are one execution.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from tidegate_runtime.batcher import Call

NANOSECONDS: Final = 1_000_000_000
MOST_SIZES: Final = 1024  # batch sizes that are told apart; a client chooses its rows, and memory is not its to fill
NEVER: Final = {"count": 0, "ns": 0}


@dataclass(slots=True)
class Runs:
    """Runs of one batch size: how many, and seconds all in all."""

    count: int = 0
    seconds: float = 0.0


class Statistics:
    """What was answered and run since the start. Written and read on the loop; times it is given are time.monotonic."""

    __slots__ = (
        "_batchable",
        "_decoding",
        "_encoding",
        "_fail",
        "_failed",
        "_inferences",
        "_last",
        "_queue",
        "_run",
        "_runs",
        "_served",
        "_sizes",
        "_success",
    )

    def __init__(self, batchable: bool) -> None:
        self._batchable = batchable  # else a request is one inference, whatever its first dimension means
        self._served = self._failed = self._inferences = self._runs = 0
        self._success = self._fail = self._queue = self._decoding = self._run = self._encoding = 0.0  # seconds
        self._last = 0.0  # by the clock on the wall
        self._sizes: dict[int, Runs] = {}

    def served(self, call: Call, submitted: float, answering: float, now: float) -> None:
        """`call` was answered: decoded until `submitted`, encoded from `answering` to `now`."""
        self._last = time.time()
        self._served += 1
        self._inferences += call.rows if self._batchable else 1
        self._success += now - call.arrived
        self._decoding += submitted - call.arrived
        self._queue += call.started - submitted
        self._run += call.ended - call.started
        self._encoding += now - answering

    def failed(self, arrived: float, now: float) -> None:
        """A request was refused, or its run failed."""
        self._last = time.time()
        self._failed += 1
        self._fail += now - arrived

    def ran(self, rows: int, seconds: float) -> None:
        """One run of the model, of `rows` rows together."""
        self._runs += 1
        size = rows if self._batchable else 1
        known = self._sizes.get(size)
        if known is None:
            if len(self._sizes) == MOST_SIZES:
                return
            known = self._sizes[size] = Runs()
        known.count += 1
        known.seconds += seconds

    def document(self, name: str, version: str) -> dict[str, Any]:
        """One entry of `model_stats`."""
        served = self._served
        return {
            "name": name,
            "version": version,
            "last_inference": int(self._last * 1000),
            "inference_count": self._inferences,
            "execution_count": self._runs,
            "inference_stats": {
                "success": _duration(served, self._success),
                "fail": _duration(self._failed, self._fail),
                "queue": _duration(served, self._queue),
                "compute_input": _duration(served, self._decoding),
                "compute_infer": _duration(served, self._run),
                "compute_output": _duration(served, self._encoding),
                "cache_hit": NEVER,  # no answer is kept
                "cache_miss": NEVER,
            },
            # Joining and cutting up a batch is part of its run: nothing is left to tell beside compute_infer.
            "batch_stats": [
                {
                    "batch_size": size,
                    "compute_input": _duration(runs.count, 0.0),
                    "compute_infer": _duration(runs.count, runs.seconds),
                    "compute_output": _duration(runs.count, 0.0),
                }
                for size, runs in sorted(self._sizes.items())
            ],
        }


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": int(seconds * NANOSECONDS)}
