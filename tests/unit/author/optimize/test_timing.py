"""Latencies in turns: on a clock that the models themselves move."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tidegate.author.optimize import timing
from tidegate.bundle.manifest import Interface, TensorSpec

INTERFACE = Interface((TensorSpec("x", "FP32", ("batch", 2)),), (TensorSpec("y", "FP32", ("batch", 2)),))
POOL = {"x": np.zeros((10, 2), np.float32)}


class Clock:
    """Tells a time that only `Model.run` moves; every third second of it the machine is four times as slow."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds * (4 if int(self.now) % 3 == 0 else 1)


class Model:
    """Takes this long for a row."""

    def __init__(self, clock: Clock, seconds: float, interface: Interface = INTERFACE) -> None:
        self.clock, self.seconds, self.interface, self.asked = clock, seconds, interface, set[tuple[int, ...]]()

    def run(self, inputs: Any) -> None:
        self.asked.add(inputs["x"].shape)
        self.clock.spend(self.seconds * len(inputs["x"]))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_what_disturbs_the_machine_changes_neither_latency_nor_speed(clock: Clock) -> None:
    parent, variant = timing.latencies([Model(clock, 0.001), Model(clock, 0.0004)], POOL, 5, 20)  # type: ignore[list-item]

    assert parent.us == pytest.approx(5000)
    assert variant.us == pytest.approx(2000)
    assert variant.speedup == pytest.approx(2.5)
    assert parent.speedup == 1


def test_it_ends_after_the_time_given_but_not_before_there_are_rounds_for_an_interval(clock: Clock) -> None:
    models = [Model(clock, 1.0), Model(clock, 1.0)]

    timing.latencies(models, POOL, 1, 0)  # type: ignore[arg-type]

    assert timing.FEWEST * 2 <= clock.now <= timing.FEWEST * 2 * 4 + 16


def test_a_model_that_takes_no_batches_is_asked_for_one_row(clock: Clock) -> None:
    alone = Interface((TensorSpec("x", "FP32", (1, 2)),), (TensorSpec("y", "FP32", (1, 2)),))
    model = Model(clock, 0.001, alone)

    assert timing.batch_sizes(model, POOL) == (1,)  # type: ignore[arg-type]
    timing.latencies([model], {"x": POOL["x"][:, None]}, 1, 0)  # type: ignore[list-item]
    assert model.asked == {(1, 2)}


def test_batches_are_no_larger_than_the_rows_there_are(clock: Clock) -> None:
    assert timing.batch_sizes(Model(clock, 1), POOL) == (1,)  # type: ignore[arg-type]
    assert timing.batch_sizes(Model(clock, 1), {"x": np.zeros((64, 2))}) == (1, 64)  # type: ignore[arg-type]
