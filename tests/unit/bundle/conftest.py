"""Small bundles on disk, and their manifests as text that a test can spoil."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tidegate.bundle.manifest import FileEntry, Interface, Manifest, Model, TensorSpec
from tidegate.bundle.write import write_manifest

BundleMaker = Callable[..., Path]
INTERFACE = Interface((TensorSpec("x", "FP32", ("batch", 4)),), (TensorSpec("y", "FP32", ("batch", 4)),))
IDENTITY = helper.make_model(
    helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
    ),
    opset_imports=[helper.make_opsetid("", 18)],
    ir_version=9,
)


def manifest_of(files: Mapping[str, bytes], **fields: object) -> Manifest:
    """A manifest that lists these files rightly."""
    entries = tuple(FileEntry(path, len(body), hashlib.sha256(body).hexdigest()) for path, body in files.items())
    about: dict[str, object] = {
        "name": "tiny",
        "version": "1",
        "model": Model("model.onnx", {"": 18}, 9),
        "interface": INTERFACE,
        "files": entries,
    }
    return Manifest(**{**about, **fields})  # type: ignore[arg-type]


@pytest.fixture
def identity() -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(IDENTITY)
    return model


@pytest.fixture
def manifest() -> Callable[..., Manifest]:
    """Makes manifests of one model file; keywords replace its fields."""

    def make(files: Mapping[str, bytes] | None = None, **fields: object) -> Manifest:
        return manifest_of(files or {"model.onnx": b"model"}, **fields)

    return make


@pytest.fixture
def bundle(tmp_path: Path) -> BundleMaker:
    """Makes bundle directories: bundle("name", {"path": bytes}, version="2")."""

    def make(name: str = "bundle", files: Mapping[str, bytes] | None = None, **fields: object) -> Path:
        every = {"model.onnx": IDENTITY.SerializeToString(), **(files or {})}
        folder = tmp_path / name
        for path, body in every.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(body)
        write_manifest(manifest_of(every, **fields), folder)
        return folder

    return make
