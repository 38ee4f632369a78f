"""Runs of models with BF16 tensors: numpy has no such type, they travel as raw uint16 in ONNX values."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tidegate.bundle.element_types import ELEMENT_TYPES
from tidegate.bundle.manifest import Interface
from tidegate_runtime.interfaces import Array
from tidegate_runtime.ort import onnxruntime


def runner(session: Any, interface: Interface) -> Callable[[list[str], dict[str, Array], Any], list[Array]]:
    """A call like the session's `run` that takes and gives BF16 as uint16."""
    bf16_inputs = {spec.name for spec in interface.inputs if spec.element_type == "BF16"}

    def run(names: list[str], feeds: dict[str, Array], options: Any) -> list[Array]:
        values = {name: _value(array, name in bf16_inputs) for name, array in feeds.items()}
        return [_array(value) for value in session.run_with_ort_values(names, values, options)]

    return run


def _value(array: Array, bf16: bool) -> Any:
    array = np.ascontiguousarray(array)
    if bf16:
        number = ELEMENT_TYPES["BF16"].onnx
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, number)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def _array(value: Any) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        return value.numpy()  # type: ignore[no-any-return]
    shape = value.shape()
    size = math.prod(shape)
    if size == 0:
        return np.zeros(shape, np.uint16)
    # The memory belongs to `value`: copied before it goes.
    raw = (ctypes.c_uint16 * size).from_address(value.data_ptr())
    return np.frombuffer(raw, np.uint16).reshape(shape).copy()
