"""A small backbone with named layers, packed once, and a maker of derived bundles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tidegate.author import DataSet, PackRequest, pack
from tidegate.author.derive.acts import Act
from tidegate.author.derive.deriving import derive
from tidegate.author.packing import Packed

FLOAT = TensorProto.FLOAT


def model_of(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any], opset: int = 21
) -> onnx.ModelProto:
    """A model of these nodes; inputs and outputs as (name, shape), of FP32, or as they are declared."""
    taken, given = (
        [
            part if isinstance(part, onnx.ValueInfoProto) else helper.make_tensor_value_info(part[0], FLOAT, part[1])
            for part in side
        ]
        for side in (inputs, outputs)
    )
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", taken, given, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def weight(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layers(opset: int = 21) -> onnx.ModelProto:
    """x [batch, 4] -> hidden [batch, 6] -> y [batch, 3]."""
    return model_of(
        [
            helper.make_node("MatMul", ["x", "first"], ["summed"]),
            helper.make_node("Relu", ["summed"], ["hidden"]),
            helper.make_node("MatMul", ["hidden", "second"], ["y"]),
        ],
        [("x", ["batch", 4])],
        [("y", ["batch", 3])],
        {"first": weight(4, 6), "second": weight(6, 3, seed=1)},
        opset,
    )


def answers(folder: Path, **inputs: Any) -> list[Any]:
    """What the bundle's model gives, by ONNX Runtime alone."""
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return bundle_of(layers(), tmp_path_factory.mktemp("backbone") / "bundle")


def bundle_of(model: onnx.ModelProto, out: Path, **fields: Any) -> Packed:
    return pack(model, PackRequest(**{"out": out, "name": "backbone", "version": "1", **fields}))


@pytest.fixture
def derived(tmp_path: Path, backbone: Packed) -> Callable[..., Packed]:
    """Derive from the backbone, or from another folder, into one of its own."""
    made = iter(range(100))

    def make(act: Act, of: Path | None = None, **fields: Any) -> Packed:
        request = {"out": tmp_path / f"derived{next(made)}", "name": "", "version": "2", **fields}
        return derive(str(of or backbone.bundle.path), act, PackRequest(**request))

    return make


@pytest.fixture(scope="session")
def blobs() -> DataSet:
    """Three clouds of points in four dimensions, with their class."""
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], 60)
    points = random.standard_normal((180, 4)) + 3 * np.eye(4)[labels]
    return DataSet("blobs", {"x": points.astype(np.float32)}, labels)
