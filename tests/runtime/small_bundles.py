"""Small models, good and bad, as bundle directories: what the server's tests load."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tidegate.bundle.element_types import BY_ONNX_NUMBER
from tidegate.bundle.golden import GoldenSample, write_sample
from tidegate.bundle.manifest import (
    FileEntry,
    Golden,
    Interface,
    Manifest,
    Model,
    TensorSpec,
    Tolerance,
    read_bundle_dir,
)
from tidegate.bundle.write import write_manifest

Array = NDArray[Any]
WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


def value(name: str, element_type: int, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, shape)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Mapping[str, Array],
) -> onnx.ModelProto:
    kept = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def linear(weights: Array = WEIGHTS) -> onnx.ModelProto:
    """Rows of four numbers to scores of three classes and the winner's label."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=-1, keepdims=0),
    ]
    outputs = [value("scores", TensorProto.FLOAT, ["N", 3]), value("label", TensorProto.INT64, ["N"])]
    return model(nodes, [value("x", TensorProto.FLOAT, ["N", 4])], outputs, {"w": weights})


def laboured(weights: Array, operators: int) -> onnx.ModelProto:
    """The answers of `linear`, after so many products with a matrix of a megabyte that change nothing: really slow."""
    names = ["wide", *(f"n{index}" for index in range(operators))]
    steps = [
        node
        for before, after in pairwise(names)
        for node in (
            helper.make_node("MatMul", [before, "turn"], [f"{after}.turned"]),
            helper.make_node("Tanh", [f"{after}.turned"], [after]),
        )
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "widen"], ["wide"]),
        *steps,
        helper.make_node("MatMul", [names[-1], "nothing"], ["zeros"]),
        helper.make_node("MatMul", ["x", "w"], ["straight"]),
        helper.make_node("Add", ["straight", "zeros"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=-1, keepdims=0),
    ]
    random = np.random.default_rng(3)
    wide = {"widen": random.standard_normal((4, 512)), "turn": random.standard_normal((512, 512)) / 20}
    kept = {name: array.astype(np.float32) for name, array in wide.items()}
    plain = linear(weights).graph
    return model(
        nodes, list(plain.input), list(plain.output), {**kept, "w": weights, "nothing": np.zeros((512, 3), np.float32)}
    )


def mixing_rows() -> onnx.ModelProto:
    """A softmax over the batch: rows of different requests must never share a run."""
    nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=0)]
    shape: list[int | str] = ["N", 4]
    return model(nodes, [value("x", TensorProto.FLOAT, shape)], [value("y", TensorProto.FLOAT, shape)], {})


def endless() -> onnx.ModelProto:
    """A loop without an end."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c_out"]), helper.make_node("Add", ["v", "v"], ["v_out"])],
        "body",
        [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []), value("v", TensorProto.FLOAT, [1])],
        [value("c_out", TensorProto.BOOL, []), value("v_out", TensorProto.FLOAT, [1])],
    )
    nodes = [helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)]
    one = [value("x", TensorProto.FLOAT, [1])]
    return model(nodes, one, [value("y", TensorProto.FLOAT, [1])], {"yes": np.array(True)})


def greedy() -> onnx.ModelProto:
    """A wish for 2^45 floats."""
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    one = [value("x", TensorProto.FLOAT, [1])]
    return model(nodes, one, [value("y", TensorProto.FLOAT, [1])], {"size": np.array([2**45])})


def long_chain(length: int) -> onnx.ModelProto:
    """So many operators that loading them takes a while."""
    names = ["x", *(f"n{index}" for index in range(length)), "y"]
    nodes = [helper.make_node("Relu", [before], [after]) for before, after in pairwise(names)]
    shape: list[int | str] = ["N", 4]
    return model(nodes, [value("x", TensorProto.FLOAT, shape)], [value("y", TensorProto.FLOAT, shape)], {})


def swelling(count: int) -> onnx.ModelProto:
    """A few bytes that become `count` floats when constants are folded at load, and in no run that says no."""
    much = helper.make_graph(
        [
            helper.make_node("ConstantOfShape", ["size"], ["huge"]),
            helper.make_node("Exp", ["huge"], ["more"]),
            helper.make_node("ReduceSum", ["more"], ["much"], keepdims=0),
        ],
        "much",
        [],
        [value("much", TensorProto.FLOAT, [])],
    )
    little = helper.make_graph(
        [helper.make_node("Identity", ["zero"], ["little"])], "little", [], [value("little", TensorProto.FLOAT, [])]
    )
    nodes = [helper.make_node("If", ["x"], ["y"], then_branch=much, else_branch=little)]
    weights = {"size": np.array([count]), "zero": np.array(0.0, np.float32)}
    return model(nodes, [value("x", TensorProto.BOOL, [])], [value("y", TensorProto.FLOAT, [])], weights)


def cast(element_type: int, shape: Sequence[int | str] = ("N", 2)) -> onnx.ModelProto:
    """One tensor of any type, given back unchanged."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    return model(nodes, [value("x", element_type, shape)], [value("y", element_type, shape)], {})


def specs(values: Sequence[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """Inputs or outputs of a graph as a manifest lists them."""
    return tuple(
        TensorSpec(
            item.name,
            BY_ONNX_NUMBER[item.type.tensor_type.elem_type].name,
            tuple(size.dim_param or size.dim_value for size in item.type.tensor_type.shape.dim),
        )
        for item in values
    )


def linear_samples(count: int = 2, weights: Array = WEIGHTS) -> list[GoldenSample]:
    """Golden samples of `linear`."""
    random = np.random.default_rng(7)
    found = []
    for _ in range(count):
        x = random.standard_normal((3, 4)).astype(np.float32)
        scores = x @ weights
        found.append(GoldenSample({"x": x}, {"scores": scores, "label": scores.argmax(-1)}))
    return found


def write_bundle(
    folder: Path,
    graph: onnx.ModelProto,
    samples: Sequence[GoldenSample] = (),
    *,
    name: str = "fraud",
    version: str = "v1",
    tolerance: Sequence[Tolerance] = (),
    labels: str = "",
) -> Path:
    """Write a bundle directory with a correct manifest."""
    (folder / "golden").mkdir(parents=True)
    onnx.save(graph, folder / "model.onnx")
    if labels:
        (folder / "labels.txt").write_text(labels)
    golden = [f"golden/{index}.npz" for index in range(len(samples))]
    for path, sample in zip(golden, samples, strict=True):
        write_sample(sample, folder / path)
    return write_manifest_of(folder, graph, golden, name=name, version=version, tolerance=tolerance)


def write_manifest_of(
    folder: Path,
    graph: onnx.ModelProto,
    golden: Sequence[str] = (),
    *,
    name: str = "fraud",
    version: str = "v1",
    tolerance: Sequence[Tolerance] = (),
) -> Path:
    """Write bundle.yaml for the files that are there; the graph says what the interface is."""
    manifest = Manifest(
        name=name,
        version=version,
        model=Model("model.onnx", {"": 18}, 9),
        interface=Interface(specs(graph.graph.input), specs(graph.graph.output)),
        files=tuple(entry(folder, path) for path in ("model.onnx", "labels.txt", *golden) if (folder / path).exists()),
        golden=Golden(tuple(golden), tuple(tolerance)) if golden else None,
    )
    write_manifest(manifest, folder)
    return folder


def with_interface(manifest: Manifest, interface: Interface) -> Manifest:
    return replace(manifest, interface=interface)


def rewrite_manifest(folder: Path, *, minimum_runtime: str) -> None:
    """The same bundle, said to need another ONNX Runtime."""
    manifest = read_bundle_dir(folder).manifest
    (folder / "bundle.yaml").unlink()
    write_manifest(replace(manifest, model=replace(manifest.model, minimum_runtime=minimum_runtime)), folder)


def entry(folder: Path, path: str) -> FileEntry:
    content = (folder / path).read_bytes()
    return FileEntry(path, len(content), hashlib.sha256(content).hexdigest())
