"""Models as ONNX Script: functions whose arguments say their types and sizes."""

# mypy: ignore-errors
# ruff: noqa: F821, UP037 - a name in brackets is a dimension

from __future__ import annotations

import numpy as np
from onnx import numpy_helper
from onnxscript import FLOAT, UINT8, script
from onnxscript import opset20 as op

_random = np.random.default_rng(3)


def _weight(*shape: int):
    return numpy_helper.from_array(_random.standard_normal(shape).astype(np.float32), "weight")


W1, W2, B1 = _weight(8, 16), _weight(16, 3), _weight(16)
K1, D1 = _weight(4, 3, 3, 3), _weight(4, 2)
GW, GR, GO = _weight(1, 24, 4), _weight(1, 24, 8), _weight(8, 2)
Q, K, V = _weight(8, 8), _weight(8, 8), _weight(8, 8)


@script()
def mlp(x: FLOAT["batch", 8]) -> FLOAT["batch", 3]:
    hidden = op.Relu(op.Gemm(x, op.Constant(value=W1), op.Constant(value=B1)))
    return op.Softmax(op.MatMul(hidden, op.Constant(value=W2)))


@script()
def cnn(x: FLOAT["batch", 3, 8, 8]) -> FLOAT["batch", 2]:
    seen = op.Relu(op.Conv(x, op.Constant(value=K1), pads=[1, 1, 1, 1]))
    return op.MatMul(op.Flatten(op.GlobalAveragePool(seen)), op.Constant(value=D1))


@script()
def recurrent(x: FLOAT["batch", "sequence", 4]) -> FLOAT["batch", 2]:
    steps = op.Transpose(x, perm=[1, 0, 2])
    _, last = op.GRU(steps, op.Constant(value=GW), op.Constant(value=GR), hidden_size=8)
    return op.MatMul(op.Squeeze(last, [0]), op.Constant(value=GO))


@script()
def attention(x: FLOAT["batch", "sequence", 8]) -> FLOAT["batch", "sequence", 8]:
    query = op.MatMul(x, op.Constant(value=Q))
    key = op.Transpose(op.MatMul(x, op.Constant(value=K)), perm=[0, 2, 1])
    weights = op.Softmax(op.MatMul(query, key))
    return op.MatMul(weights, op.MatMul(x, op.Constant(value=V)))


@script()
def prepared(pictures: UINT8["batch", 8, 8, 3]) -> FLOAT["batch", 3, 8, 8]:
    scaled = op.Cast(pictures, to=1) / op.Constant(value_float=255.0)
    return op.Transpose((scaled - op.Constant(value_float=0.5)) / op.Constant(value_float=0.25), perm=[0, 3, 1, 2])


@script()
def two_heads(x: FLOAT["batch", 8]) -> tuple[FLOAT["batch", 16], FLOAT["batch", 3]]:
    features = op.Tanh(op.MatMul(x, op.Constant(value=W1)))
    scores = op.MatMul(features, op.Constant(value=W2))
    return features, scores


@script()
def untyped(x):
    return op.Relu(x)
