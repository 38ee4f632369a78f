"""A bundle that another is made of: verified, its graph read, its large weights at hand in a scratch folder.

Everything on the way lies in that folder: graphs point at `weights/` in it, so parts of several bundles can be joined,
and the bundle itself, perhaps somebody's cache, is only ever read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from tidegate.author.checking import here
from tidegate.author.columns import as_rows
from tidegate.author.damage import weights_of
from tidegate.author.describe import interface_of
from tidegate.author.pool import PoolMaker, hints_from_graph, pool_rows
from tidegate.author.request import DataSet
from tidegate.author.session import Tensors, open_runner
from tidegate.author.weights import MODEL_FILE, load_graph, write_split
from tidegate.bundle.manifest import Interface, Manifest, read_bundle_dir

ROWS = 64  # of the inputs that parts are compared on


@dataclass(frozen=True, slots=True)
class Base:
    """`model` points at weights in `scratch`; `folder` is the bundle, there for as long as it is open."""

    ref: str
    digest: str
    manifest: Manifest
    model: onnx.ModelProto
    folder: Path
    scratch: Path

    @property
    def interface(self) -> Interface:
        return interface_of(self.model)


@contextlib.contextmanager
def opened_base(ref: str, scratch: Path) -> Iterator[Base]:
    """The bundle at a folder or address, its weights copied into `scratch`."""
    with here(ref) as folder:
        bundle = read_bundle_dir(folder)
        path = folder / bundle.manifest.model.file
        model = load_graph(path)
        write_split(model, path.parent, scratch)
        yield Base(ref, bundle.digest, bundle.manifest, model, folder, scratch)


def write_graph(model: onnx.ModelProto, scratch: Path) -> Path:
    """The graph as a file beside the weights that it points at."""
    path = scratch / MODEL_FILE
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def pool_for(model: onnx.ModelProto, scratch: Path, data: DataSet | None, seed: int) -> Tensors:
    """Inputs to compare graphs on: rows of the data, or made up and accepted by the model."""
    interface = interface_of(model)
    if data is not None:
        return {name: array[:ROWS] for name, array in as_rows(data, interface).items()}
    runner = open_runner(write_graph(model, scratch), interface)
    rows = min(ROWS, pool_rows(sum(weight.elements for weight in weights_of(model)), interface))
    return PoolMaker(interface, hints_from_graph(model), seed).running(runner, rows)
