"""Choosing golden samples: which rows of a pool notice damage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from tidegate.author.damage import Damage, DamagedModels
from tidegate.author.golden import Chooser, tolerances
from tidegate.author.session import Array
from tidegate.bundle.manifest import Interface, TensorSpec

INTERFACE = Interface((TensorSpec("x", "FP32", ("batch", 1)),), (TensorSpec("y", "FP32", ("batch", 1)),))
ROWS = np.arange(3, dtype=np.float32).reshape(3, 1)


class Answering:
    """A damaged model that answers this."""

    def __init__(self, answer: Array) -> None:
        self.answer = answer

    @contextlib.contextmanager
    def damaged(self, _: Damage) -> Iterator[Any]:
        yield self

    def run_pool(self, _: Any) -> dict[str, Array]:
        return {"y": self.answer}


def test_only_a_row_whose_infinite_answer_changes_notices_a_damage() -> None:
    right = np.full((3, 1), np.inf, np.float32)
    changed = np.array([[np.inf], [np.inf], [1]], np.float32)
    chooser = Chooser(INTERFACE, tolerances(INTERFACE, quantized=False), {"x": ROWS}, {"y": right})

    (request,) = chooser.requests(cast(DamagedModels, Answering(changed)), [Damage("w", "zeroed")], 1)

    assert request["x"].tolist() == [[2]]
