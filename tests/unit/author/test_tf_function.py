"""What is told of our own steps for tf2onnx, without TensorFlow."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from tidegate.author.frameworks import ConversionFailed
from tidegate.author.frameworks.tf_function import OwnSteps


def _left(graph: Any, nodes: Any) -> Any:
    del graph
    return nodes


def _failing(error: Exception) -> Any:
    def step(graph: Any, nodes: Any) -> Any:
        raise error

    return step


def _carried_out(own: OwnSteps) -> None:
    """As tf2onnx does it: on to the next step, whatever one of them raises."""
    for step in own.steps:
        with contextlib.suppress(Exception):
            step("graph", ["node"])


def test_the_first_of_our_steps_that_failed_is_raised_in_the_end() -> None:
    first, second = ConversionFailed("there is no form", where="the model"), ValueError("no node")
    own = OwnSteps([_left, _failing(first), _failing(second)])

    _carried_out(own)

    with pytest.raises(ConversionFailed, match="there is no form"):
        own.require_done()


def test_steps_that_all_went_well_raise_nothing() -> None:
    own = OwnSteps([_left])

    _carried_out(own)
    own.require_done()

    assert own.steps[0]("graph", ["node"]) == ["node"]
