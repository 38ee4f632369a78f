"""Two networks for scikit-learn's digits (1,078 rows to learn from, 719 to be judged by), trained here by numpy.

`mlp`: 64-1024-1024-10, 4.4 MB.  `cnn`: three 3x3 convolutions (32, 64, 128 channels), a dense layer of 128, 0.64 MB.
Everything is seeded; rows are shifted by up to a pixel while learning, and the weights are a moving average.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Array = NDArray[Any]
SIDE, CLASSES = 8, 10
TESTED = 0.4  # of the rows
BATCH = 64
RATE, FADING = 2e-3, 0.995
MOMENTS = (0.9, 0.999)


@dataclass(frozen=True, slots=True)
class Digits:
    """Rows of 64 pixels from 0 to 1, with their digit."""

    rows: Array
    digits: Array
    test_rows: Array
    test_digits: Array


def load() -> Digits:
    """The split that every figure of docs/optimize.md is from."""
    found = load_digits()
    rows = (found.data / 16).astype(np.float32)
    parts = train_test_split(rows, found.target, test_size=TESTED, random_state=0, stratify=found.target)
    return Digits(parts[0], parts[2], parts[1], parts[3])


@dataclass(slots=True)
class Layer:
    """A dense layer, or a 3x3 convolution with a margin of one (`pooled`: then the largest of each 2x2)."""

    kind: str  # "dense", "conv"
    weight: Array
    bias: Array
    pooled: bool = False
    last: bool = False  # no Relu
    seen: list[Array] = field(default_factory=list)  # what the way back needs
    gradient: tuple[Array, Array] = field(default_factory=lambda: (np.empty(0), np.empty(0)))

    def forward(self, x: Array) -> Array:
        if self.kind == "dense":
            columns = x.reshape(len(x), -1)
            y = columns @ self.weight + self.bias
        else:
            columns = _columns(x)
            y = (columns @ self.weight + self.bias).reshape(*x.shape[:3], -1)
        relu = y if self.last else np.maximum(y, 0)
        self.seen = [np.asarray(x.shape), columns, relu]
        return _pooled(relu).max(axis=(2, 4)) if self.pooled else relu

    def backward(self, change: Array) -> Array:
        shape, columns, relu = self.seen
        if self.pooled:
            parts = _pooled(relu)
            top = parts == parts.max(axis=(2, 4), keepdims=True)
            change = (
                top * (change[:, :, None, :, None] / top.sum(axis=(2, 4), keepdims=True, dtype=np.float32))
            ).reshape(relu.shape)
        if not self.last:
            change = change * (relu > 0)
        flat = change.reshape(len(columns), -1)
        self.gradient = (columns.T @ flat, flat.sum(axis=0))
        back = flat @ self.weight.T
        return back.reshape(shape) if self.kind == "dense" else _image(back, shape)


def _pooled(x: Array) -> Array:
    rows, height, width, channels = x.shape
    return x.reshape(rows, height // 2, 2, width // 2, 2, channels)


def _columns(x: Array) -> Array:
    """Every 3x3 window of images [rows, height, width, channels] as a row."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 9 * x.shape[3])


def _image(columns: Array, shape: Array) -> Array:
    rows, height, width, channels = (int(size) for size in shape)
    windows = columns.reshape(rows, height, width, 3, 3, channels)
    padded = np.zeros((rows, height + 2, width + 2, channels), columns.dtype)
    for y in range(3):
        for x in range(3):
            padded[:, y : y + height, x : x + width] += windows[:, :, :, y, x]
    return padded[:, 1:-1, 1:-1]


def _layer(random: np.random.Generator, kind: str, inputs: int, outputs: int, *, pooled: bool = False) -> Layer:
    fan = inputs * (9 if kind == "conv" else 1)
    weight = random.standard_normal((fan, outputs)) * (2 / fan) ** 0.5
    return Layer(kind, weight.astype(np.float32), np.zeros(outputs, np.float32), pooled, last=outputs == CLASSES)


def mlp_layers(random: np.random.Generator) -> list[Layer]:
    """64-1024-1024-10."""
    return [_layer(random, "dense", *size) for size in ((SIDE * SIDE, 1024), (1024, 1024), (1024, CLASSES))]


def cnn_layers(random: np.random.Generator) -> list[Layer]:
    """Convolutions of 32, 64 and 128 channels, the last two pooled, then 512-128-10."""
    return [
        _layer(random, "conv", 1, 32),
        _layer(random, "conv", 32, 64, pooled=True),
        _layer(random, "conv", 64, 128, pooled=True),
        _layer(random, "dense", 512, 128),
        _layer(random, "dense", 128, CLASSES),
    ]


def mlp(data: Digits, epochs: int = 30) -> onnx.ModelProto:
    """Trained, as ONNX."""
    random = np.random.default_rng(0)
    layers = mlp_layers(random)
    train(layers, data, epochs, random)
    return as_onnx(layers, "mlp")


def cnn(data: Digits, epochs: int = 60) -> onnx.ModelProto:
    """Trained, as ONNX."""
    random = np.random.default_rng(0)
    layers = cnn_layers(random)
    train(layers, data, epochs, random)
    return as_onnx(layers, "cnn")


@dataclass(slots=True)
class Weight:
    """Weights that Adam moves; `mean` is their moving average."""

    values: Array
    first: Array
    second: Array
    mean: Array

    def move(self, gradient: Array, rate: float, step: int) -> None:
        self.first += (1 - MOMENTS[0]) * (gradient - self.first)
        self.second += (1 - MOMENTS[1]) * (gradient**2 - self.second)
        size = np.sqrt(self.second / (1 - MOMENTS[1] ** step)) + 1e-8
        self.values -= (rate * self.first / (1 - MOMENTS[0] ** step) / size).astype(np.float32)
        self.mean += (1 - FADING) * (self.values - self.mean)


def train(layers: Sequence[Layer], data: Digits, epochs: int, random: np.random.Generator) -> None:
    """Adam on the cross-entropy, its rate falling to nothing; the layers end with the averaged weights."""
    arrays = [array for layer in layers for array in (layer.weight, layer.bias)]
    weights = [Weight(array, np.zeros_like(array), np.zeros_like(array), array.copy()) for array in arrays]
    batches = [batch for _ in range(epochs) for batch in _batches(data, random)]
    for step, (rows, digits) in enumerate(batches, start=1):
        propagate(layers, rows, digits)
        rate = RATE * 0.5 * (1 + np.cos(np.pi * step / len(batches)))
        gradients = [array for layer in layers for array in layer.gradient]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.move(gradient, rate, step)
    for weight in weights:
        weight.values[:] = weight.mean


def _batches(data: Digits, random: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    order = random.permutation(len(data.rows))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        chosen = order[start : start + BATCH]
        yield _shifted(data.rows[chosen], random), data.digits[chosen]


def _shifted(rows: Array, random: np.random.Generator) -> Array:
    """Half of the images, moved by up to a pixel each way."""
    padded = np.pad(rows.reshape(-1, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)))
    moves = np.where(random.random((len(rows), 1)) < 0.5, random.integers(0, 3, (len(rows), 2)), 1)
    images = [image[y : y + SIDE, x : x + SIDE] for image, (y, x) in zip(padded, moves, strict=True)]
    return np.stack(images)[..., None]


def propagate(layers: Sequence[Layer], rows: Array, digits: Array) -> None:
    """The gradients of one batch, left in the layers."""
    x = rows
    for layer in layers:
        x = layer.forward(x)
    exponents = np.exp(x - x.max(axis=1, keepdims=True))
    change = exponents / exponents.sum(axis=1, keepdims=True)
    change[np.arange(len(change)), digits] -= 1
    change = (change / len(change)).astype(np.float32)
    for layer in reversed(layers):
        change = layer.backward(change)


def as_onnx(layers: Sequence[Layer], name: str) -> onnx.ModelProto:
    """The network as a graph: `pixels` [batch, 64] to `scores` [batch, 10], before any softmax."""
    nodes, weights, tensor = [], [], "pixels"
    images = layers[0].kind == "conv"
    if images:
        weights.append(numpy_helper.from_array(np.array([-1, 1, SIDE, SIDE]), "as_images"))
        nodes.append(helper.make_node("Reshape", ["pixels", "as_images"], ["images"], name="images"))
        tensor = "images"
    for number, layer in enumerate(layers):
        if images and layer.kind == "dense":
            nodes.append(helper.make_node("Flatten", [tensor], ["features"], name="flatten"))
            tensor = "features"
        made, tensors, tensor = _nodes(layer, f"{layer.kind}{number}", tensor, flattened=images)
        images = images and layer.kind == "conv"
        nodes, weights = nodes + made, weights + tensors
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", SIDE * SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", CLASSES])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _nodes(layer: Layer, name: str, tensor: str, *, flattened: bool) -> tuple[list[Any], list[Any], str]:
    """One layer's nodes and weights, in ONNX' order of axes, and the tensor that it ends in."""
    if layer.kind == "conv":
        weight = layer.weight.reshape(3, 3, -1, layer.weight.shape[1]).transpose(3, 2, 0, 1)
        kind, how = "Conv", dict[str, Any](pads=[1, 1, 1, 1])
    else:
        weight, kind, how = layer.weight, "Gemm", {}
        if flattened:  # images came with their channels last here, and come with them first there
            side = round((weight.shape[0] / 128) ** 0.5)
            weight = weight.reshape(side, side, 128, -1).transpose(2, 0, 1, 3).reshape(weight.shape)
    arrays = {f"{name}.weight": np.ascontiguousarray(weight), f"{name}.bias": layer.bias}
    out = "scores" if layer.last else f"{name}.relu"
    nodes = [helper.make_node(kind, [tensor, *arrays], ["scores" if layer.last else name], name=name, **how)]
    if not layer.last:
        nodes.append(helper.make_node("Relu", [name], [out], name=out))
    if layer.pooled:
        nodes.append(
            helper.make_node(
                "MaxPool", [out], [f"{name}.pool"], name=f"{name}.pool", kernel_shape=[2, 2], strides=[2, 2]
            )
        )
        out = f"{name}.pool"
    return nodes, [numpy_helper.from_array(array, key) for key, array in arrays.items()], out
