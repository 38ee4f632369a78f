"""The bundle that is optimized: verified, its graph with all weights in memory, ready to be changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from tidegate.author.checking import here
from tidegate.author.graph import attribute_tensors, initializers, nodes
from tidegate.author.sbom import SBOM
from tidegate.author.weights import tensor_bytes
from tidegate.bundle.manifest import BundleDir, Interface, Manifest, read_bundle_dir
from tidegate.errors import Failed

MOST = 2_000_000_000  # bytes that a graph in memory can have: protobuf's limit is 2 GiB
MADE_ANEW = ("README.md", SBOM)  # of every bundle
WEIGHTS = "weights/"


@dataclass(frozen=True, slots=True)
class Parent:
    """A bundle and its model."""

    bundle: BundleDir
    model: onnx.ModelProto

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    @property
    def interface(self) -> Interface:
        return self.bundle.manifest.interface

    @property
    def has_sbom(self) -> bool:
        return self.manifest.entry(SBOM) is not None

    def further_files(self) -> tuple[Path, ...]:
        """Plain files, such as labels.txt, that hold for the variant as well."""
        golden = self.manifest.golden.files if self.manifest.golden else ()
        own = {self.manifest.model.file, *golden, *MADE_ANEW}
        paths = [entry.path for entry in self.manifest.files]
        return tuple(self.bundle.path / path for path in paths if path not in own and not path.startswith(WEIGHTS))


@contextlib.contextmanager
def parent_at(ref: str) -> Iterator[Parent]:
    """The bundle at a directory or address, for as long as this lasts; raises Failed for a model that is too large."""
    with here(ref) as folder:
        bundle = read_bundle_dir(folder)
        path = folder / bundle.manifest.model.file
        model = onnx.load(path, load_external_data=False)
        held = [*initializers(model), *attribute_tensors(model)]
        if (size := sum(map(tensor_bytes, held))) > MOST:
            raise Failed(
                f"its weights are {size:,} bytes, more than the {MOST:,} that can be changed in memory",
                where=ref,
                do="optimize it before it is exported, in its own framework",
                reason="TooLarge",
            )
        onnx.load_external_data_for_model(model, str(path.parent))
        lift_constants(model)
        name_nodes(model)
        yield Parent(bundle, model)


def lift_constants(model: onnx.ModelProto) -> None:
    """Weights that an exporter wrote as Constant nodes (Paddle's does) as initializers: only those are made smaller."""
    graph = model.graph
    outputs = {value.name for value in graph.output}
    for node in [node for node in graph.node if node.op_type == "Constant" and node.output[0] not in outputs]:
        tensor = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if tensor is not None:
            graph.initializer.add().CopyFrom(tensor)
            graph.initializer[-1].name = node.output[0]
            graph.node.remove(node)


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own: quantization knows layers by theirs."""
    seen: set[str] = set()
    for number, node in enumerate(nodes(model)):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
        seen.add(node.name)


def size_of(model: onnx.ModelProto) -> int:
    """Bytes of the graph with its weights."""
    return int(model.ByteSize())
