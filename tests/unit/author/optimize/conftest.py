"""Small models with a bundle around them, and requests to make them smaller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tidegate.author import DataSet, GoldenRequest, PackRequest, pack
from tidegate.author.optimize import OptimizeRequest
from tidegate.author.optimize.rows import Lessons

Build = Callable[..., onnx.ModelProto]


@pytest.fixture
def build() -> Build:
    """A model of these nodes: `x` [batch, ...] in, `y` out."""

    def model(
        nodes: list[Any], shape: tuple[int, ...], weights: dict[str, Any], outputs: tuple[str, ...] = ("y",)
    ) -> onnx.ModelProto:
        tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None]) for name in outputs],
            tensors,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        return onnx.shape_inference.infer_shapes(model)

    return model


@pytest.fixture
def dense(build: Build) -> Build:
    """x [batch, 16] through 64 hidden units to y [batch, 4]; each hidden unit is there `copies` times."""

    def model(copies: int = 1, seed: int = 0) -> onnx.ModelProto:
        random = np.random.default_rng(seed)
        first = np.repeat(random.standard_normal((16, 64 // copies)), copies, axis=1).astype(np.float32)
        second = random.standard_normal((64, 4)).astype(np.float32)
        weights = {"A": first, "a": np.zeros(64, np.float32), "B": second, "b": np.ones(4, np.float32)}
        nodes = [
            helper.make_node("Gemm", ["x", "A", "a"], ["h"], name="first"),
            helper.make_node("Relu", ["h"], ["r"], name="relu"),
            helper.make_node("Gemm", ["r", "B", "b"], ["y"], name="second"),
        ]
        return build(nodes, (16,), weights)

    return model


@pytest.fixture
def lessons() -> Lessons:
    """Rows for `dense`."""
    return Lessons({"x": np.random.default_rng(5).standard_normal((400, 16)).astype(np.float32)})


@pytest.fixture(scope="session")
def digits() -> tuple[DataSet, DataSet]:
    """Rows to learn from and rows that judge, of scikit-learn's digits."""
    found = load_digits()
    rows = (found.data / 16).astype(np.float32)
    return DataSet("train", {"X": rows[:900]}, found.target[:900]), DataSet(
        "test", {"X": rows[900:]}, found.target[900:]
    )


@pytest.fixture(scope="session")
def bundle(digits: tuple[DataSet, DataSet], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network for digits with the outputs `label` and `probabilities`, packed with a file of labels."""
    train, test = digits
    estimator = MLPClassifier((48,), max_iter=200, random_state=0, tol=2e-2).fit(train.columns["X"], train.labels)
    out = tmp_path_factory.mktemp("parent") / "digits"
    labels = out.parent / "labels.txt"
    labels.write_text("".join(f"{digit}\n" for digit in range(10)))
    rows = replace(test, labels=None, preprocessing={"scale": "1/16"})
    request = PackRequest(
        out, "digits", "1.0.0", license="MIT", data=rows, files=(labels,), golden=GoldenRequest(count=2)
    )
    pack(estimator, request)
    return out


@pytest.fixture
def ask(digits: tuple[DataSet, DataSet], tmp_path: Path) -> Callable[..., OptimizeRequest]:
    """A request for the bundle of digits; latencies are measured for as short as can be."""

    def request(**fields: Any) -> OptimizeRequest:
        train, test = digits
        calibration = DataSet("train", train.columns)
        given = {"out": tmp_path / "small", "version": "2", "data": test, "calibration": calibration, "seconds": 0.0}
        return OptimizeRequest(**{**given, **fields})

    return request
