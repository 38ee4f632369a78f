"""Weights, and with calibration activations, in 8 bits.

Activations are unsigned, weights signed, of 7 bits: on processors without VNNI sums of products of 8 bits saturate,
and the same bundle would answer otherwise there than here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

from tidegate.author.describe import operators
from tidegate.author.graph import is_quantized, nodes
from tidegate.author.optimize.rows import Lessons
from tidegate.author.optimize.simplify import prepared, quiet, refusing
from tidegate.author.session import Array
from tidegate.errors import Failed

WHERE = "--int8"
DYNAMIC = ("MatMul", "Gemm", "Attention", "LSTM")  # a convolution whose ranges are found anew each time is slower
HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # where the time goes
# What may stay in 8 bits between two of them; steep functions (Softmax, Sigmoid, norms) lose too much and gain nothing.
BETWEEN = (
    *("Relu", "Clip", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Add", "Concat", "Pad"),
    *("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "Resize", "Split"),
)


def dynamic(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights of dense layers in 8 bits, activations while it runs; raises Failed when there is no such layer."""
    with tempfile.TemporaryDirectory(prefix="tidegate-optimize-") as scratch, quiet(), refusing(WHERE):
        target = Path(scratch) / "dynamic.onnx"
        quantize_dynamic(
            prepared(model), target, list(DYNAMIC), per_channel=True, reduce_range=True, weight_type=QuantType.QInt8
        )
        changed = onnx.load(target)
    if not is_quantized(changed):
        raise nothing_in(model, DYNAMIC)
    return changed


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A prepared model with the ranges of all its tensors, kept in `folder`, so that each layer can be tried."""

    model: onnx.ModelProto
    folder: Path
    lessons: Lessons

    def layers(self) -> list[str]:
        """The names of the nodes where the time goes and that have weights."""
        weights = {tensor.name for tensor in self.model.graph.initializer}
        heavy = [node for node in self.model.graph.node if node.op_type in HEAVY]
        return [node.name for node in heavy if any(name in weights for name in node.input)]

    def quantized(self, *, left: Sequence[str] = (), only: Sequence[str] = ()) -> onnx.ModelProto:
        """In 8 bits but for the nodes `left`; with `only`, nothing but those."""
        target = self.folder / "quantized.onnx"
        with quiet(), refusing(WHERE):
            quantize_static(
                self.folder / "prepared.onnx",
                target,
                _Reader(self.lessons),
                QuantFormat.QDQ,
                [*HEAVY, *BETWEEN],
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=list(only),
                nodes_to_exclude=list(left),
                calibration_cache_path=self.folder / "ranges.json",
            )
        changed = onnx.load(target)
        _answers_as_computed(changed)
        return changed


def calibrate(model: onnx.ModelProto, lessons: Lessons, folder: Path) -> Calibrated:
    """Make the model ready; the range of every tensor is noted when it is quantized first.

    Raises Failed when it has no layer that 8 bits are worth it for.
    """
    ready = prepared(model)
    onnx.save(ready, folder / "prepared.onnx")
    calibrated = Calibrated(ready, folder, lessons)
    if not calibrated.layers():
        raise nothing_in(model, HEAVY)
    return calibrated


def static(model: onnx.ModelProto, lessons: Lessons) -> onnx.ModelProto:
    """All of it in 8 bits, by the ranges seen in `lessons`; raises Failed when none of its operators can be."""
    with tempfile.TemporaryDirectory(prefix="tidegate-optimize-") as scratch:
        return calibrate(model, lessons, Path(scratch)).quantized()


class _Reader:
    """Rows as the calibrator asks for them."""

    def __init__(self, lessons: Lessons) -> None:
        self._requests: Iterator[dict[str, Array]] = lessons.requests()

    def get_next(self) -> dict[str, Array] | None:
        return next(self._requests, None)


def nothing_in(model: onnx.ModelProto, wanted: Sequence[str]) -> Failed:
    """What to say of a model that none of these operators is in."""
    return Failed(
        f"none of its operators can be quantized: it has {', '.join(operators(model))[:200]}",
        where=WHERE,
        do=f"quantization makes {', '.join(wanted)} with constant weights smaller",
        reason="NotOptimizable",
    )


def _answers_as_computed(model: onnx.ModelProto) -> None:
    """Take the rounding to 8 bits off the model's outputs: 256 levels make ties where there were none."""
    makers = {name: node for node in nodes(model) for name in node.output}
    uses = [name for node in nodes(model) for name in node.input]
    for output in model.graph.output:
        last = makers.get(output.name)
        before = makers.get(last.input[0]) if last is not None and last.op_type == "DequantizeLinear" else None
        if last is None or before is None or before.op_type != "QuantizeLinear":
            continue
        source = makers.get(before.input[0])
        if source is None or uses.count(before.input[0]) > 1 or uses.count(output.name):
            continue
        source.output[list(source.output).index(before.input[0])] = output.name
        model.graph.node.remove(last)
        model.graph.node.remove(before)
        _forget(model.graph, {*before.input[1:], *last.input[1:]})


def _forget(graph: onnx.GraphProto, names: set[str]) -> None:
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name in names - used]:
        graph.initializer.remove(tensor)
