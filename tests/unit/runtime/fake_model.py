"""A model without ONNX Runtime for tests of what happens around it: y = 2x, and a log of its runs."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidegate.bundle.manifest import TensorSpec
from tidegate_runtime.interfaces import Array, Lane, Objection

POISON = 666.0


@dataclass
class FakeLane:
    """A lane of a watchdog that is never late: what ends behind its deadline was ended by it."""

    options: Any = None
    lost: bool = False
    deadline: float = math.inf
    deadlines: list[float] = field(default_factory=list)  # of all runs

    def begin(self, deadline: float) -> None:
        self.deadline = deadline
        self.deadlines.append(deadline)

    def end(self) -> bool:
        late, self.deadline = time.monotonic() > self.deadline, math.inf
        return late


@dataclass
class FakeWatchdog:
    stuck: bool = False
    lost: bool = False
    lanes: list[FakeLane] = field(default_factory=list)

    def lane(self) -> Lane:
        self.lanes.append(FakeLane())
        return self.lanes[-1]


@dataclass
class FakeModel:
    """Doubles its input; fails on the poison; waits for `gate` when it is closed."""

    costs: tuple[tuple[int, float], ...] = ((1, 1e-5), (8, 2e-5), (32, 4e-5))
    most_together: int = 32
    objection: Objection | None = None
    name: str = "fake"
    version: str = "v1"
    revision: str = "r1"
    digest: str = ""
    inputs: tuple[TensorSpec, ...] = (TensorSpec("x", "FP32", ("N", 2)),)
    outputs: tuple[TensorSpec, ...] = (TensorSpec("y", "FP32", ("N", 2)),)
    labels: tuple[str, ...] = ()
    runs: list[int] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: Callable[[], None] = lambda: None

    @property
    def batchable(self) -> bool:
        return self.objection is None

    def run(self, feeds: dict[str, Array], lane: Lane) -> list[Array]:
        self.entered()
        self.gate.wait(10)
        x = feeds["x"]
        self.runs.append(len(x))
        self.threads.add(threading.current_thread().name)
        if POISON in x:
            raise RuntimeError("/secret/path: poisoned")
        return [np.multiply(x, 2, dtype=np.float32)]


def rows(count: int, value: float = 1.0) -> dict[str, Array]:
    return {"x": np.full((count, 2), value, np.float32)}
