"""Small bundles on disk, and their manifests as text that a test can spoil."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import pytest
from tests.bundle.tiny import IDENTITY, manifest_of, write_bundle

from tidegate.bundle.manifest import Manifest

BundleMaker = Callable[..., Path]


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
        return write_bundle(tmp_path / name, files, **fields)

    return make
