"""Perturbations on a fake cluster: time without chance, and a table of all runs at the end."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import tests.fakes.cluster

import tidegate.cluster.queue
import tidegate.cluster.workers

from . import cluster_tally


class NoChance:
    """In the place of `random`: pauses are as long as they may be, so that a story is always told the same way."""

    @staticmethod
    def uniform(low: float, high: float) -> float:
        return (low + high) / 2


@pytest.fixture(autouse=True)
def without_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """No jitter; no managedFields, which are half of every object, and no log, which nobody here reads."""
    monkeypatch.setattr(tidegate.cluster.queue, "random", NoChance)
    monkeypatch.setattr(tests.fakes.cluster, "managed_fields", lambda *_: [])
    monkeypatch.setattr(tidegate.cluster.workers.log, "disabled", True)


@pytest.fixture(autouse=True)
def without_collection() -> Iterator[None]:
    """Thousands of copied stages, all of which are needed: a collector finds nothing in them and takes a fifth."""
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if cluster_tally.RUNS:
        terminalreporter.section("perturbations")
        for line in cluster_tally.table():
            terminalreporter.write_line(line)
        cluster_tally.write()
