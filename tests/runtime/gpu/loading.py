"""Small words for tests of models that are loaded on the pretended GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from tests.runtime import small_bundles as small

from tidegate_runtime.session import OrtModel
from tidegate_runtime.watchdog import RunLane

Load = Callable[..., OrtModel]


def run(model: OrtModel, lane: RunLane, x: Any) -> list[Any]:
    lane.begin(time.monotonic() + 5)
    try:
        return model.run({"x": x}, lane)
    finally:
        lane.end()


def fixed_sizes() -> onnx.ModelProto:
    graph = small.linear()
    for tensor in (*graph.graph.input, *graph.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 2
    return graph


def ones(value: float = 1.0) -> Any:
    return np.full((2, 4), value, np.float32)
