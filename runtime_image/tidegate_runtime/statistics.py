"""Sums for the protocol's statistics extension (`GET …/stats`); rates and quantiles are in the metrics.

Requests are counted when they are answered, runs when they end: requests that share a run are one execution.
Where several processes answer (siblings), each tells the sums of all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True, slots=True)
class Sums:
    """What the statistics tell, as plain numbers: requests and runs, and the seconds of their parts."""

    served: int = 0
    failed: int = 0
    inferences: int = 0
    runs: int = 0
    success: float = 0.0
    fail: float = 0.0
    queue: float = 0.0
    decoding: float = 0.0
    run: float = 0.0
    encoding: float = 0.0
    last: float = 0.0  # when the latest request was answered, Unix time
    sizes: Mapping[int, Runs] = field(default_factory=dict)

    def plus(self, other: Sums) -> Sums:
        """Of both."""
        sizes = {size: replace(runs) for size, runs in self.sizes.items()}
        for size, runs in other.sizes.items():
            known = sizes.setdefault(size, Runs())
            known.count += runs.count
            known.seconds += runs.seconds
        return Sums(
            self.served + other.served, self.failed + other.failed, self.inferences + other.inferences,
            self.runs + other.runs, self.success + other.success, self.fail + other.fail, self.queue + other.queue,
            self.decoding + other.decoding, self.run + other.run, self.encoding + other.encoding,
            max(self.last, other.last), sizes,
        )  # fmt: skip

    def document(self, name: str, version: str) -> dict[str, Any]:
        """One entry of `model_stats`."""
        served = self.served
        return {
            "name": name,
            "version": version,
            "last_inference": int(self.last * 1000),
            "inference_count": self.inferences,
            "execution_count": self.runs,
            "inference_stats": {
                "success": _duration(served, self.success),
                "fail": _duration(self.failed, self.fail),
                "queue": _duration(served, self.queue),
                "compute_input": _duration(served, self.decoding),
                "compute_infer": _duration(served, self.run),
                "compute_output": _duration(served, self.encoding),
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
                for size, runs in sorted(self.sizes.items())
            ],
        }


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
        "others",
    )

    def __init__(self, batchable: bool) -> None:
        self._batchable = batchable  # else a request is one inference, whatever its first dimension means
        self._served = self._failed = self._inferences = self._runs = 0
        self._success = self._fail = self._queue = self._decoding = self._run = self._encoding = 0.0  # seconds
        self._last = 0.0  # by the clock on the wall
        self._sizes: dict[int, Runs] = {}
        self.others = Sums()  # of the other processes, where there are any

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

    def sums(self) -> Sums:
        """Of this process, as they are now."""
        return Sums(
            self._served, self._failed, self._inferences, self._runs, self._success, self._fail, self._queue,
            self._decoding, self._run, self._encoding, self._last,
            {size: replace(runs) for size, runs in self._sizes.items()},
        )  # fmt: skip

    def document(self, name: str, version: str) -> dict[str, Any]:
        """One entry of `model_stats`, of all processes."""
        return self.sums().plus(self.others).document(name, version)


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": int(seconds * NANOSECONDS)}
