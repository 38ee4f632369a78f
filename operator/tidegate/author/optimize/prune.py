"""Structured pruning: whole channels go, so that the matrices become smaller and every runtime gains.

From each pair of layers the channels go that move the second layer's answers least on the calibration rows.  The
second layer is then fitted anew, by least squares, to what it answered in the parent: the channels that stay take over
what they can of those that went.  Nothing is trained; no label is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from tidegate.author.optimize.chains import Chain, Chains, Layer, attribute
from tidegate.author.optimize.probe import answers
from tidegate.author.optimize.rows import Lessons
from tidegate.author.optimize.simplify import simplified
from tidegate.author.session import Array
from tidegate.errors import Failed

RIDGE = 1e-2  # of the mean square of an input: how firmly weights stay where they were when the rows do not tell
PLACES = 1 << 15  # windows of images that a fit looks at
FEWEST = 2  # channels that stay
# ONNX Runtime lays convolutions out in blocks of 8 or 16 channels; with 115 of 128 they ran at 0.6 of their speed.
BLOCK = 16


@dataclass(frozen=True, slots=True)
class Pruned:
    """The smaller model, and per pair of layers how many channels it had and has."""

    model: onnx.ModelProto
    layers: tuple[tuple[str, int, int], ...]


def pruned(model: onnx.ModelProto, lessons: Lessons, share: float, seed: int) -> Pruned:
    """Without `share` of the channels of every pair of layers; raises Failed when there is none."""
    parent, small = simplified(model), simplified(model)
    found = list(Chains(small))
    if not found:
        raise Failed(
            "there are no two layers in a row that channels could be taken out between",
            where="--prune",
            do="pruning needs dense layers or convolutions with nothing but activations, pools or Flatten between them",
            reason="NotOptimizable",
        )
    report = []
    for chain in found:
        stay = staying(chain.channels, share)
        if stay < chain.channels:
            _shrink(small, parent, chain, Fit(lessons, stay, seed))
            report.append((chain.first.node.name, chain.channels, stay))
    if not report:
        raise Failed(
            f"{share:.0%} of the channels of each layer is too little to take any out: of {2 * BLOCK} and more, "
            f"whole blocks of {BLOCK} go",
            where="--prune",
            do="take out a larger share",
            reason="NotOptimizable",
        )
    del small.graph.value_info[:]
    return Pruned(onnx.shape_inference.infer_shapes(small), tuple(report))


def staying(channels: int, share: float) -> int:
    """How many channels stay: whole blocks, where there are at least two."""
    wanted = channels * (1 - share)
    return max(BLOCK, round(wanted / BLOCK) * BLOCK) if channels >= 2 * BLOCK else max(FEWEST, round(wanted))


@dataclass(frozen=True, slots=True)
class Fit:
    """Rows to fit on, and how many channels shall stay."""

    lessons: Lessons
    stay: int
    seed: int


def _shrink(small: onnx.ModelProto, parent: onnx.ModelProto, chain: Chain, fit: Fit) -> None:
    """Take the least channels out of `chain` in `small`, and fit its second layer to its answers in `parent`."""
    layer, arrays = chain.second, _Arrays(small.graph)
    before = layer.matrix(arrays[layer.weight])
    inputs, said = _seen(small, parent, chain, fit)
    width = before.shape[0] // chain.channels  # inputs of the second layer per channel
    worth = (inputs.var(axis=0) * (before**2).sum(axis=1)).reshape(chain.channels, width).sum(axis=1)
    kept = np.sort(np.argsort(-worth, kind="stable")[: fit.stay])
    places = (kept[:, None] * width + np.arange(width)).reshape(-1)
    _drop_outputs(arrays, chain.first, kept)
    for name in chain.added:
        arrays[name] = arrays[name][kept]
    if chain.reshape:
        first, fixed = arrays[chain.reshape]
        arrays[chain.reshape] = np.array([first, fixed // chain.channels * len(kept)])
    bias = arrays[layer.bias] if layer.bias else None
    after, moved = refitted(inputs[:, places], said, before[places], bias)
    arrays[layer.weight] = layer.weight_of(after.astype(np.float32), arrays[layer.weight])
    if moved is not None:
        arrays[layer.bias] = moved.astype(np.float32)


def refitted(inputs: Array, wanted: Array, weight: Array, bias: Array | None) -> tuple[Array, Array | None]:
    """The matrix, and the bias where there is one, whose answers to `inputs` are nearest to `wanted`.

    Ridge regression towards the weights as they were, so that inputs that hardly vary keep theirs.
    """
    x, y, start = inputs.astype(np.float64), wanted.astype(np.float64), weight.astype(np.float64)
    means = (x.mean(axis=0), y.mean(axis=0)) if bias is not None else (0.0, 0.0)
    x, y = x - means[0], y - means[1]
    gram = x.T @ x
    firm = RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12)
    change = np.linalg.solve(gram + firm * np.eye(len(gram)), x.T @ (y - x @ start))
    after = start + change
    return after, (means[1] - means[0] @ after if bias is not None else None)


def _drop_outputs(arrays: _Arrays, layer: Layer, kept: Array) -> None:
    weight = arrays[layer.weight]
    arrays[layer.weight] = layer.weight_of(layer.matrix(weight)[:, kept], weight)
    if layer.bias:
        arrays[layer.bias] = arrays[layer.bias][kept]


def _seen(small: onnx.ModelProto, parent: onnx.ModelProto, chain: Chain, fit: Fit) -> tuple[Array, Array]:
    """What the second layer reads now, as rows of its matrix, and what it answers in the parent, row by row."""
    node = chain.second.node
    read = answers(small, [chain.tensor], fit.lessons)[0]
    said = answers(parent, [node.output[0]], fit.lessons)[0]
    if not chain.second.is_conv:
        return read.reshape(-1, read.shape[-1]), said.reshape(-1, said.shape[-1])
    said = said.transpose(0, 2, 3, 1).reshape(-1, said.shape[1])
    chosen = np.sort(np.random.default_rng(fit.seed).permutation(len(said))[:PLACES])
    kernel = _Arrays(small.graph)[chain.second.weight].shape[2:]
    return windows(read, node, kernel, chosen), said[chosen]


def windows(images: Array, node: onnx.NodeProto, kernel: Sequence[int], chosen: Array) -> Array:
    """What a convolution reads at these places (row of the batch, height, width): channel, row, column."""
    top = attribute(node, "pads", [0, 0, 0, 0])
    steps, spread = attribute(node, "strides", [1, 1]), attribute(node, "dilations", [1, 1])
    padded = np.pad(images, ((0, 0), (0, 0), (top[0], top[2]), (top[1], top[3])))
    reach = [(size - 1) * gap + 1 for size, gap in zip(kernel, spread, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    seen = seen[:, :, :: steps[0], :: steps[1], :: spread[0], :: spread[1]].transpose(0, 2, 3, 1, 4, 5)
    rows, height, width = seen.shape[:3]
    row, y, x = np.unravel_index(chosen, (rows, height, width))
    return np.ascontiguousarray(seen[row, y, x]).reshape(len(chosen), -1)


class _Arrays:
    """The initializers of a graph as arrays; what is assigned is written into the graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}

    def __getitem__(self, name: str) -> Array:
        return numpy_helper.to_array(self._tensors[name])

    def __setitem__(self, name: str, array: Array) -> None:
        self._tensors[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))
