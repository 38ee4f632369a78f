"""Why a conversion may have gone wrong, told from how its answers differ, and what to do about it.

The rows answer what was seen to go wrong silently: docs/frameworks.md has the list.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from tidegate.author.graph import nodes
from tidegate.author.rowwise import ShapesDiffer
from tidegate.author.session import Array

BAKED_IN = (
    "the size of the example is baked into the graph: export it with that dimension dynamic (--interface), "
    "or fix it there"
)
FLATTENED = "its values are laid out in another shape: the converter flattened several columns into one"
TURNED = "its columns or layout are turned round: check the order of the classes, and channels first or last"
RAW = "the original gives probabilities and the graph raw scores: let the model end with its softmax or sigmoid"
RANDOM = "the graph draws random numbers: export the model for inference, not for training"
TREES = (
    "single rows fall on the other side of a tree's threshold, because ONNX computes in 32 bits: "
    "train on float32 data, and without a scaler before the trees"
)
RECURRENT = "recurrent layers were converted wrongly: export Keras models from its TensorFlow backend"
UNKNOWN = "the conversion is wrong for this model: report it, or export the model to ONNX yourself"

RANDOM_OPERATORS = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli"})
RECURRENT_OPERATORS = frozenset({"LSTM", "GRU", "RNN", "Scan", "Loop"})
CLOSE = 1e-3
MOST = 0.9  # of the rows


def of_shapes(found: ShapesDiffer) -> str:
    """For answers of different shapes."""
    same = np.prod(found.expected) == np.prod(found.found) and len(found.expected) == len(found.found)
    return FLATTENED if same and found.expected != found.found else UNKNOWN


def of_values(model: onnx.ModelProto, expected: Array, found: Array) -> str:
    """For answers of one shape that differ; numbers, or labels of which only the graph can tell something."""
    if expected.dtype.kind == "f" and found.dtype.kind == "f":
        for explains, advice in _SYMPTOMS:
            if explains(expected.astype(np.float64), found.astype(np.float64)):
                return advice
    used = {node.op_type for node in nodes(model)}
    if any(map(_is_random, nodes(model))):
        return RANDOM
    if any(name.startswith("TreeEnsemble") for name in used) and _few(expected, found):
        return TREES
    return RECURRENT if used & RECURRENT_OPERATORS else UNKNOWN


def _is_random(node: onnx.NodeProto) -> bool:
    in_training = node.op_type == "Dropout" and any(node.input[2:])
    return in_training or node.op_type in RANDOM_OPERATORS


def _few(expected: Array, found: Array) -> bool:
    """Whether most rows agree."""
    numbers = expected.dtype.kind == "f"
    same = np.isclose(expected, found, rtol=CLOSE, atol=CLOSE) if numbers else expected.astype(str) == found.astype(str)
    return bool(np.mean(same.reshape(len(same), -1).all(axis=1)) > MOST) if same.ndim else False


def _near(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=CLOSE, atol=CLOSE))


def _turned(expected: Array, found: Array) -> bool:
    """The same numbers in each row, in another order."""
    if expected.ndim < 2 or expected[0].size < 2:  # noqa: PLR2004 - one number per row has no order
        return False
    rows = [np.sort(array.reshape(len(array), -1), axis=1) for array in (expected, found)]
    return _near(*rows)


def _raw(expected: Array, found: Array) -> bool:
    if _near(expected, 1 / (1 + np.exp(-found))):
        return True
    if found.ndim == 0 or found.shape[-1] == 1:
        return False
    weights = np.exp(found - found.max(axis=-1, keepdims=True))
    return _near(expected, weights / weights.sum(axis=-1, keepdims=True))


_SYMPTOMS: tuple[tuple[Callable[[Array, Array], bool], str], ...] = ((_turned, TURNED), (_raw, RAW))
