"""Pairs of layers between which channels can be taken out: what the first writes, only the second reads.

Between them may stand what treats each channel alone: an activation, a pool, a bias, a Flatten.  Anything else - a
branch, a sum of two tensors, a normalization over channels - ties channels together, and the pair is left as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import numpy_helper

from tidegate.author.graph import graphs
from tidegate.author.session import Array

ALONE = frozenset(
    (
        *("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Clip", "Gelu"),
        *("Softplus", "Softsign", "Mish", "Identity", "Dropout", "MaxPool", "AveragePool", "GlobalAveragePool"),
    )
)
MATRIX, IMAGES = 2, 4  # dimensions


@dataclass(frozen=True, slots=True)
class Layer:
    """A dense layer or a two-dimensional convolution; `weight` and `bias` name initializers nobody else uses."""

    node: onnx.NodeProto
    weight: str
    bias: str = ""

    @property
    def is_conv(self) -> bool:
        return bool(self.node.op_type == "Conv")

    def matrix(self, weight: Array) -> Array:
        """[inputs, outputs]; of a convolution, inputs are channel, row, column."""
        if self.is_conv:
            return weight.reshape(len(weight), -1).T
        return weight.T if attribute(self.node, "transB", 0) else weight

    def weight_of(self, matrix: Array, like: Array) -> Array:
        """The other way round."""
        if self.is_conv:
            return matrix.T.reshape(matrix.shape[1], -1, *like.shape[2:])
        return matrix.T if attribute(self.node, "transB", 0) else matrix


@dataclass(frozen=True, slots=True)
class Chain:
    """`first` writes `channels`, `second` reads them; `added` are biases between, `reshape` a fixed width."""

    first: Layer
    second: Layer
    channels: int
    added: tuple[str, ...] = ()
    reshape: str = ""

    @property
    def tensor(self) -> str:
        """What the second reads."""
        return str(self.second.node.input[0])


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute's value."""
    found = next((item for item in node.attribute if item.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)


class Chains:
    """Looks for them in one graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.weights: Mapping[str, onnx.TensorProto] = {tensor.name: tensor for tensor in self.graph.initializer}
        read = [name for graph in graphs(self.graph) for node in graph.node for name in node.input]
        self.uses = Counter([*read, *(value.name for value in self.graph.output)])
        self.readers = {name: node for node in self.graph.node for name in node.input}

    def __iter__(self) -> Iterator[Chain]:
        """In the order of the graph."""
        for node in self.graph.node:
            if (first := self._layer(node)) and (chain := self._followed(first)):
                yield chain

    def _layer(self, node: onnx.NodeProto) -> Layer | None:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < MATRIX:
            return None
        weight, bias = node.input[1], (node.input[2] if len(node.input) > MATRIX else "")
        if not self._own(weight) or (bias and not self._own(bias)):
            return None
        ranks = {"Conv": IMAGES}.get(node.op_type, MATRIX)
        plain = attribute(node, "group", 1) == 1 and attribute(node, "transA", 0) == 0
        plain = plain and attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
        plain = plain and attribute(node, "alpha", 1.0) == 1.0 and attribute(node, "beta", 1.0) == 1.0
        if not plain or len(self.weights[weight].dims) != ranks:
            return None
        return Layer(node, weight, bias)

    def _own(self, name: str) -> bool:
        """A 32-bit initializer that one node uses, once."""
        tensor = self.weights.get(name)
        return tensor is not None and self.uses[name] == 1 and tensor.data_type == onnx.TensorProto.FLOAT

    def _followed(self, first: Layer) -> Chain | None:
        channels = first.matrix(self._array(first.weight)).shape[1]
        added: list[str] = []
        name, reshape, flat = first.node.output[0], "", not first.is_conv
        while self.uses[name] == 1 and (node := self.readers.get(name)) is not None:
            if node.input[0] == name and (second := self._layer(node)):
                fits = second.is_conv != flat and self._inputs(second) % channels == 0
                return Chain(first, second, channels, tuple(added), reshape) if fits else None
            if node.op_type == "Add" and (bias := self._bias(node, name, channels)):
                added.append(bias)
            elif first.is_conv and not flat and self._flattens(node):
                flat, reshape = True, self._fixed_width(node)
            elif node.op_type not in ALONE:
                return None
            name = node.output[0]
        return None

    def _inputs(self, layer: Layer) -> int:
        dims = self.weights[layer.weight].dims
        return int(dims[1] if layer.is_conv else layer.matrix(self._array(layer.weight)).shape[0])

    def _bias(self, node: onnx.NodeProto, name: str, channels: int) -> str:
        other = next((given for given in node.input if given != name), "")
        return other if self._own(other) and list(self.weights[other].dims) == [channels] else ""

    def _flattens(self, node: onnx.NodeProto) -> bool:
        """Images to rows: channel, then row and column."""
        if node.op_type == "Flatten":
            return bool(attribute(node, "axis", 1) == 1)
        shape = self.weights.get(node.input[1]) if node.op_type == "Reshape" else None
        return shape is not None and list(shape.dims) == [MATRIX]

    def _fixed_width(self, node: onnx.NodeProto) -> str:
        if node.op_type == "Flatten" or int(self._array(node.input[1])[1]) == -1:
            return ""
        return str(node.input[1])

    def _array(self, name: str) -> Array:
        return numpy_helper.to_array(self.weights[name])
