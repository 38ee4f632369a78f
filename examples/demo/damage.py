"""What can happen to a model between training and serving, done on purpose: four damages and one flipped byte.

The four get a fresh manifest and are signed again with the release key: digest and signature are right, only the
golden samples can tell.  The flipped byte is changed in the store, behind a manifest that is right.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tidegate.author.packing import listed_files
from tidegate.bundle.manifest import read_bundle_dir
from tidegate.bundle.write import write_manifest

EXPONENT_BIT = 30  # the highest bit of a float's exponent: 0.1 becomes 3e37


def zeroed(weights: Any) -> None:
    """One tensor is gone, as after a failed copy."""
    weights[:] = 0


def sign_flipped(weights: Any) -> None:
    """One tensor is turned round, as by a wrong convention."""
    weights *= -1


def rows_swapped(weights: Any) -> None:
    """Two inputs are mixed up, as by another order of columns."""
    first, second = np.argsort(-np.abs(weights).sum(axis=1))[[0, 5]]
    weights[[first, second]] = weights[[second, first]]


def bit_flipped(weights: Any) -> None:
    """One bit of one number, as by faulty memory."""
    bits = weights.reshape(-1).view(np.uint32)
    bits[np.abs(weights).argmax()] ^= np.uint32(1 << EXPONENT_BIT)


DAMAGES: dict[str, Callable[[Any], None]] = {
    "zeroed": zeroed,
    "signflipped": sign_flipped,
    "rowswapped": rows_swapped,
    "bitflipped": bit_flipped,
}


def damaged_copy(bundle: Path, out: Path, version: str, damage: str) -> None:
    """A copy of a good bundle with this damage, whose manifest lists the damaged bytes as if they were meant."""

    def change(model: onnx.ModelProto) -> None:
        _damage_largest(model, DAMAGES[damage])

    _changed_copy(bundle, out, version, change)


def twin_copy(bundle: Path, out: Path, version: str) -> None:
    """A copy that computes the same but has files of its own in the store."""

    def change(model: onnx.ModelProto) -> None:
        model.doc_string = version

    _changed_copy(bundle, out, version, change)


def _changed_copy(bundle: Path, out: Path, version: str, change: Callable[[onnx.ModelProto], None]) -> None:
    shutil.copytree(bundle, out, ignore=shutil.ignore_patterns("bundle.yaml", "bundle.sig"))
    model = onnx.load(out / "model.onnx")
    change(model)
    onnx.save(model, out / "model.onnx")
    manifest = dataclasses.replace(read_bundle_dir(bundle).manifest, version=version, files=listed_files(out))
    write_manifest(manifest, out)


def _damage_largest(model: onnx.ModelProto, damage: Callable[[Any], None]) -> None:
    tensor = max(model.graph.initializer, key=lambda one: np.prod(one.dims) if len(one.dims) > 1 else 0)
    weights = numpy_helper.to_array(tensor).copy()
    damage(weights)
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))


def flip_a_stored_byte(client: Any, bucket: str, repository: str, bundle: Path) -> str:
    """Change one byte of the model in the store; the manifest there stays right.  Gives the object's name."""
    manifest = read_bundle_dir(bundle).manifest
    entry = manifest.entry(manifest.model.file)
    assert entry is not None
    key = f"{repository}/blobs/sha256/{entry.sha256}"
    content = bytearray(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    content[len(content) // 2] ^= 1
    client.put_object(Bucket=bucket, Key=key, Body=bytes(content))
    return key
