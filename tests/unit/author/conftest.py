"""Small models made by hand, and a packer that writes into a fresh folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tidegate.author import DataSet, PackRequest, pack
from tidegate.author.packing import Packed


@pytest.fixture
def packed(tmp_path: Path) -> Callable[..., Packed]:
    """Pack something into a folder of its own, with whatever request fields the test cares about."""
    made = iter(range(100))

    def make(source: object, **fields: Any) -> Packed:
        request = {"out": tmp_path / f"bundle{next(made)}", "name": "model", "version": "1.0.0", **fields}
        return pack(source, PackRequest(**request))

    return make


@pytest.fixture
def onnx_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a graph of these nodes as an .onnx file."""

    def write(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any] | None = None) -> Path:
        tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
        graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        path = tmp_path / "source" / "model.onnx"
        path.parent.mkdir(exist_ok=True)
        onnx.save(model, path)
        return path

    return write


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Write a model as a file."""

    def write(model: onnx.ModelProto, **options: Any) -> Path:
        path = tmp_path / "source" / "model.onnx"
        path.parent.mkdir(exist_ok=True)
        onnx.save(model, path, **options)
        return path

    return write


@pytest.fixture
def linear(onnx_file: Callable[..., Path]) -> Callable[..., Path]:
    """y = x·W with a weight of any size."""

    def write(rows: int = 4, columns: int = 3) -> Path:
        weight = np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
        return onnx_file(
            [helper.make_node("MatMul", ["x", "W"], ["y"])],
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", rows])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", columns])],
            {"W": weight},
        )

    return write


@pytest.fixture
def entries_with() -> Callable[[Path, int, int], Path]:
    """Write a byte at a place of every entry in a zip's directory: 6 is the version of zip, 8 flags, 10 compression."""

    def write(path: Path, place: int, value: int) -> Path:
        content = bytearray(path.read_bytes())
        for part in re.finditer(rb"PK\x01\x02", path.read_bytes()):
            content[part.start() + place] = value
        path.write_bytes(content)
        return path

    return write


@pytest.fixture(scope="session")
def blobs() -> DataSet:
    """Three clouds of points in four dimensions, with their class."""
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], 60)
    points = random.standard_normal((180, 4)) + 3 * np.eye(4)[labels]
    return DataSet("blobs", {"X": points}, labels)
