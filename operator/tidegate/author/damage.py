"""Proving golden samples: every weight of some size is damaged in turn, and the samples must notice.

Zeroed, sign-flipped, permuted: what a truncated file, a wrong byte order or a mixed-up layer do.  Weights that are
plain tensors of the graph are replaced through the inputs of one session; those in attributes (trees, linear and
support-vector models) or in inner graphs need a changed model each time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from tidegate.author.graph import WEIGHT_TYPES, graphs, nodes
from tidegate.author.session import Array, Runner, Settings, Tensors, open_runner
from tidegate.bundle.errors import ModelInvalid
from tidegate.bundle.manifest import Interface

STATISTICS = ("nodes_hitrates", "nodes_hitrates_as_tensor")  # of the training; they change no answer
SHARE = 0.01  # of all parameters: smaller tensors are not damaged in turn
ROUNDING = 1e-7
PIECE = 1 << 20
FEW = 8
PLAIN = Settings(optimize=False)


def _zeroed(values: Array, seed: int) -> Array:  # noqa: ARG001 - all three are called alike
    return np.zeros_like(values)


def _flipped(values: Array, seed: int) -> Array:  # noqa: ARG001
    if values.dtype == np.uint8:  # quantized around a zero point: the mirror image
        return (255 - values).astype(values.dtype)
    return np.negative(values)


def _permuted(values: Array, seed: int) -> Array:
    order = np.random.default_rng(seed).permutation(values.size)
    return np.ascontiguousarray(values.reshape(-1)[order].reshape(values.shape))


DAMAGES: dict[str, Callable[[Array, int], Array]] = {
    "zeroed": _zeroed,
    "sign-flipped": _flipped,
    "permuted": _permuted,
}


@dataclass(frozen=True, slots=True)
class Weight:
    """One learnt array; `holder` is the tensor or the attribute that holds it."""

    name: str
    holder: onnx.TensorProto | onnx.AttributeProto
    elements: int
    replaceable: bool  # through an input of the session, without changing the model


@dataclass(frozen=True, slots=True)
class Damage:
    """A weight and what was done to it."""

    weight: str
    how: str


def weights_of(model: onnx.ModelProto) -> list[Weight]:
    """Everything that was learnt, wherever it is kept."""
    return [*_graph_weights(model), *_attribute_weights(model)]


def examined(weights: list[Weight]) -> list[Weight]:
    """Those with at least one percent of the parameters; of an ensemble of many small parts, the largest few."""
    total = sum(weight.elements for weight in weights)
    large = [weight for weight in weights if weight.elements >= SHARE * total]
    if sum(weight.elements for weight in large) >= total / 2:
        return large
    return sorted(weights, key=lambda weight: -weight.elements)[: max(FEW, len(large))]


def _graph_weights(model: onnx.ModelProto) -> Iterator[Weight]:
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            if tensor.data_type in WEIGHT_TYPES:
                yield Weight(tensor.name, tensor, _elements(tensor), graph is model.graph)


def _attribute_weights(model: onnx.ModelProto) -> Iterator[Weight]:
    for number, node in enumerate(nodes(model)):
        for attribute in node.attribute:
            name = f"{node.name or node.output[0] or number}.{attribute.name}"
            if attribute.name in STATISTICS or (attribute.name == "weights" and _counts_only(node)):
                continue
            if attribute.type == onnx.AttributeProto.FLOATS:
                yield Weight(name, attribute, len(attribute.floats), False)
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type in WEIGHT_TYPES:
                yield Weight(name, attribute.t, _elements(attribute.t), False)


def _counts_only(node: onnx.NodeProto) -> bool:
    """Whether this is a TfIdfVectorizer that only counts words: its weights are then not used."""
    return any(attribute.name == "mode" and attribute.s == b"TF" for attribute in node.attribute)


def _elements(tensor: onnx.TensorProto) -> int:
    return int(np.prod(tensor.dims)) if tensor.dims else 1


@dataclass(frozen=True, slots=True)
class DamagedRunner:
    """A damaged model; it answers None where it no longer runs, which is noticed too."""

    runner: Runner | None
    replaced: Mapping[str, Any]

    def run(self, inputs: Tensors) -> dict[str, Array] | None:
        with contextlib.suppress(ModelInvalid):
            return self.runner.run(inputs, self.replaced) if self.runner else None
        return None

    def run_pool(self, pool: Tensors) -> dict[str, Array] | None:
        with contextlib.suppress(ModelInvalid):
            return self.runner.run_pool(pool, self.replaced) if self.runner else None
        return None


class DamagedModels:
    """The model with one weight damaged at a time; `model` is the graph in `folder`, its weight files beside it."""

    def __init__(self, model: onnx.ModelProto, folder: Path, interface: Interface) -> None:
        self._model, self._folder, self.interface = model, folder, interface
        self._weights = {weight.name: weight for weight in examined(weights_of(model))}
        self._opened: Runner | None = None
        self._refused = False

    def release(self) -> None:
        """Give the memory of the session back; the next damage opens it again."""
        self._opened = None

    @property
    def _open(self) -> Runner | None:
        """A session whose weights can be replaced; None when this model does not allow it."""
        if self._opened is None and not self._refused:
            self._opened = self._open_replaceable()
            self._refused = self._opened is None
        return self._opened

    def damages(self) -> Iterator[Damage]:
        """Every damage that changes its weight by more than rounding (a constant tensor cannot be permuted)."""
        for weight in self._weights.values():
            values = self._values(weight)
            for how, change in DAMAGES.items():
                if _differs(change(values, 0), values):
                    yield Damage(weight.name, how)

    @contextlib.contextmanager
    def damaged(self, damage: Damage) -> Iterator[DamagedRunner]:
        """The model with this damage, for as long as this lasts."""
        weight = self._weights[damage.weight]
        changed = DAMAGES[damage.how](self._values(weight), 0)
        if weight.replaceable and (runner := self._open):
            yield DamagedRunner(runner, {weight.name: _ort_value(changed, weight)})
            return
        with _changed(weight, changed):
            try:
                runner = self._runner_of(self._model)
            except ModelInvalid:
                runner = None
            yield DamagedRunner(runner, {})

    def _values(self, weight: Weight) -> Array:
        if isinstance(weight.holder, onnx.AttributeProto):
            return np.asarray(weight.holder.floats, dtype=np.float32)
        return np.asarray(numpy_helper.to_array(weight.holder, base_dir=str(self._folder)))

    def _open_replaceable(self) -> Runner | None:
        """A session whose examined weights are inputs with a default; None when this model does not allow it."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self._model)
        copy.ir_version = max(copy.ir_version, 4)
        known = {value.name for value in copy.graph.input}
        for weight in self._weights.values():
            if weight.replaceable and weight.name not in known and isinstance(weight.holder, onnx.TensorProto):
                shape = list(weight.holder.dims)
                value = onnx.helper.make_tensor_value_info(weight.name, weight.holder.data_type, shape)
                copy.graph.input.append(value)
        with contextlib.suppress(ModelInvalid):
            return self._runner_of(copy)
        return None

    def _runner_of(self, model: onnx.ModelProto) -> Runner:
        path = self._folder / ".damaged.onnx"  # beside the weight files that it points at
        path.write_bytes(model.SerializeToString())
        try:
            return open_runner(path, self.interface, PLAIN)
        finally:
            path.unlink()


def _differs(changed: Array, values: Array) -> bool:
    one, other = changed.reshape(-1), values.reshape(-1)
    for start in range(0, one.size, PIECE):  # a tensor may hold a gigabyte: no copies of all of it
        part = slice(start, start + PIECE)
        with np.errstate(invalid="ignore"):
            distance = np.abs(one[part].astype(np.float64) - other[part].astype(np.float64))
        if (distance > ROUNDING).any():
            return True
    return False


@contextlib.contextmanager
def _changed(weight: Weight, values: Array) -> Iterator[None]:
    """The weight's holder with other values, for as long as this lasts."""
    before = type(weight.holder)()
    before.CopyFrom(weight.holder)
    if isinstance(weight.holder, onnx.AttributeProto):
        weight.holder.floats[:] = values.tolist()
    else:
        weight.holder.CopyFrom(_tensor(weight.holder, values))
    try:
        yield
    finally:
        weight.holder.CopyFrom(before)


def _tensor(holder: onnx.TensorProto, values: Array) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(values, holder.name)
    tensor.data_type = holder.data_type
    return tensor


def _ort_value(values: Array, weight: Weight) -> Any:
    if values.dtype.kind in "fiu" and values.dtype.isbuiltin:
        return values
    assert isinstance(weight.holder, onnx.TensorProto)
    raw = values.view(f"u{values.dtype.itemsize}")
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, weight.holder.data_type)
