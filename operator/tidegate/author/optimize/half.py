"""Weights and arithmetic in 16-bit floats: half the size.  A GPU is faster with it, a CPU is not."""

from __future__ import annotations

import warnings

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from tidegate.author.graph import initializers
from tidegate.author.optimize.simplify import prepared, quiet, refusing
from tidegate.errors import Failed


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """In 16 bits inside, with the inputs and outputs as they were; raises Failed when there is nothing to halve."""
    with quiet(), refusing("--fp16"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that become 0 or the largest: the accuracy tells
        changed = convert_float_to_float16(prepared(model), keep_io_types=True)
    if not any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in initializers(changed)):
        raise Failed(
            "it has no 32-bit weights that could be halved",
            where="--fp16",
            do="trees and models that are 16 bits already stay as they are",
            reason="NotOptimizable",
        )
    return onnx.shape_inference.infer_shapes(changed)
