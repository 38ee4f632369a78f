"""The smallest bundles: a model that gives what it gets, in folders that list their files rightly."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from onnx import TensorProto, helper

from tidegate.bundle.errors import BundleError
from tidegate.bundle.manifest import FileEntry, Interface, Manifest, Model, TensorSpec
from tidegate.bundle.write import write_manifest

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
    """A manifest that lists these files rightly; keywords replace its fields."""
    entries = tuple(FileEntry(path, len(body), hashlib.sha256(body).hexdigest()) for path, body in files.items())
    about: dict[str, object] = {
        "name": "tiny",
        "version": "1",
        "model": Model("model.onnx", {"": 18}, 9),
        "interface": INTERFACE,
        "files": entries,
    }
    return Manifest(**{**about, **fields})  # type: ignore[arg-type]


def write_bundle(folder: Path, files: Mapping[str, bytes] | None = None, **fields: object) -> Path:
    """A bundle directory of the model, these files and a manifest with these fields."""
    every = {"model.onnx": IDENTITY.SerializeToString(), **(files or {})}
    for path, body in every.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(body)
    write_manifest(manifest_of(every, **fields), folder)
    return folder


def at_once(publish: Callable[[Path], str], folders: Sequence[Path]) -> tuple[list[str], list[BundleError]]:
    """All are published at the same moment: the digests of those that won, the errors of the others."""
    won: list[str] = []
    lost: list[BundleError] = []
    start = threading.Barrier(len(folders))

    def one(folder: Path) -> None:
        start.wait()
        try:
            won.append(publish(folder))
        except BundleError as error:
            lost.append(error)

    threads = [threading.Thread(target=one, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return won, lost
