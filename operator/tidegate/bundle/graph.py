"""Walks an ONNX graph and refuses what reaches outside of the bundle, runs foreign code, or is absurdly large.

External data may only lie in `weights/<name>`, in a file that the manifest lists.  ONNX Runtime has checks of its own;
they changed with its releases, and ours come before any of its code sees the model.
"""

from __future__ import annotations

import math
import posixpath
from typing import Any

from tidegate.bundle.errors import ModelInvalid, UnsafeFile
from tidegate.bundle.manifest import BundleDir
from tidegate.bundle.paths import FILE_NAME

WEIGHTS = "weights"
MAX_TENSOR_BYTES = 2**38  # of one tensor whose size is written in the model: 256 GiB
MAX_NESTING = 32
OUR_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
# A node that holds or names a compiled engine: foreign code, not a model.
FORBIDDEN = frozenset({"EPContext"})
# Bits of one element by ONNX's number of the type; 0: as long as it is.
BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 8: 0, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128}
BITS |= {16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2}


def check_graph(model: Any, bundle: BundleDir) -> None:
    """Look at every node and tensor, those of inner graphs and functions too."""
    walk = _Walk(model, bundle)
    walk.graph(model.graph, 0)
    for function in model.functions:
        walk.nodes(function.node, {}, 0)


class _Walk:
    def __init__(self, model: Any, bundle: BundleDir) -> None:
        self._where = bundle.manifest.model.file
        self._folder = posixpath.dirname(self._where)
        self._listed = {entry.path: entry.bytes for entry in bundle.manifest.files}
        self._functions = {(function.domain, function.name) for function in model.functions}

    def graph(self, graph: Any, depth: int) -> None:
        if depth > MAX_NESTING:
            raise self._refusal(f"graphs are nested more than {MAX_NESTING} deep")
        constants = {tensor.name: tensor for tensor in graph.initializer}
        for tensor in graph.initializer:
            self._tensor(tensor)
        for sparse in graph.sparse_initializer:
            self._sparse(sparse)
        for value in (*graph.input, *graph.output, *graph.value_info):
            self._value(value)
        self.nodes(graph.node, constants, depth)

    def nodes(self, nodes: Any, constants: dict[str, Any], depth: int) -> None:
        for node in nodes:
            self._operator(node)
            for attribute in node.attribute:
                self._attribute(attribute, depth)
            if node.op_type == "Constant" and node.output:
                constants.update((node.output[0], row.t) for row in node.attribute if row.name == "value")
            if node.op_type == "ConstantOfShape" and node.input:
                self._made_of_shape(node, constants.get(node.input[0]))

    def _operator(self, node: Any) -> None:
        known = node.domain in OUR_DOMAINS or (node.domain, node.op_type) in self._functions
        if not known or node.op_type in FORBIDDEN:
            raise ModelInvalid(
                f"the node '{node.name[:60]}' is the operator {node.domain[:60]}.{node.op_type[:60]}, "
                "which needs a library that is not part of ONNX Runtime",
                where=self._where,
                do="export it with operators of ONNX only: nothing from a bundle is ever loaded as a program",
            )

    def _attribute(self, attribute: Any, depth: int) -> None:
        if attribute.HasField("t"):
            self._tensor(attribute.t)
        for tensor in attribute.tensors:
            self._tensor(tensor)
        if attribute.HasField("sparse_tensor"):
            self._sparse(attribute.sparse_tensor)
        for sparse in attribute.sparse_tensors:
            self._sparse(sparse)
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            self.graph(graph, depth + 1)

    def _sparse(self, sparse: Any) -> None:
        self._size("a sparse tensor", sparse.dims, sparse.values.data_type)
        self._tensor(sparse.values)
        self._tensor(sparse.indices)

    def _tensor(self, tensor: Any) -> None:
        size = self._size(f"the tensor '{tensor.name[:80]}'", tensor.dims, tensor.data_type)
        if tensor.data_location == 1 or tensor.external_data:
            self._external(tensor, size)
        elif tensor.HasField("raw_data") and BITS.get(tensor.data_type) and len(tensor.raw_data) != size:
            raise self._refusal(f"the tensor '{tensor.name[:80]}' holds {len(tensor.raw_data)} bytes, expected {size}")

    def _external(self, tensor: Any, size: int) -> None:
        about = {row.key: row.value for row in tensor.external_data}
        path = self._location(tensor.name, about.get("location", ""))
        offset, length = (self._number(tensor.name, about.get(key)) for key in ("offset", "length"))
        length = size if length is None else length
        if length != size or (offset or 0) + length > self._listed[path]:
            raise self._refusal(
                f"the tensor '{tensor.name[:80]}' wants bytes {offset or 0} to {(offset or 0) + length} of {path}, "
                f"which has {self._listed[path]}; its shape needs {size}"
            )

    def _location(self, name: str, location: str) -> str:
        names = location.split("/")
        path = posixpath.join(self._folder, location)
        plain = all(FILE_NAME.fullmatch(part) for part in names) and path.split("/")[0] == WEIGHTS
        if not plain or path not in self._listed:
            raise UnsafeFile(
                f"the tensor '{name[:80]}' lies in '{location[:120]}'",
                where=self._where,
                do=f"external data must be a listed file {WEIGHTS}/NAME",
            )
        return path

    def _number(self, name: str, text: str | None) -> int | None:
        if text is None:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 18:  # noqa: PLR2004  (below 2**63)
            raise self._refusal(f"the tensor '{name[:80]}' has no number where its offset or length should be")
        return int(text)

    def _value(self, value: Any) -> None:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        self._size(f"'{value.name[:80]}'", [max(size, 0) for size in dims], value.type.tensor_type.elem_type)

    def _made_of_shape(self, node: Any, shape: Any) -> None:
        if shape is None or shape.data_location == 1 or shape.data_type != 7:  # noqa: PLR2004  (INT64)
            return
        sizes = memoryview(shape.raw_data).cast("q").tolist() if shape.raw_data else list(shape.int64_data)
        self._size(f"the output of '{node.name[:60] or node.op_type}'", sizes, 1)

    def _size(self, what: str, dims: Any, element_type: int) -> int:
        """Bytes of a tensor, when that is a possible number."""
        sizes = list(dims)
        total: int = -(-math.prod(sizes) * BITS.get(element_type, 0) // 8)
        if any(size < 0 for size in sizes) or total > MAX_TENSOR_BYTES or math.prod(sizes) > MAX_TENSOR_BYTES:
            raise self._refusal(f"{what} has the size {sizes[:8]}, which no machine here can hold")
        return total

    def _refusal(self, what: str) -> ModelInvalid:
        return ModelInvalid(what, where=self._where, do="export the model again, or look at where it came from")
