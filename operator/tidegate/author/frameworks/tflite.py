"""TensorFlow Lite models, by tf2onnx; compared with LiteRT, which is what runs them on devices.

tflite2onnx is not used: it turns the layout round, fixes the batch at 1 and fails on 8-bit models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tidegate.author.extras import need
from tidegate.author.frameworks import ConversionFailed, Converted, Found
from tidegate.author.frameworks.given import given_rows
from tidegate.author.frameworks.tf_function import EXTRA, OPSET, PACKAGES, quiet, tensorflow
from tidegate.author.frameworks.tf_names import mend, plain_names, rename
from tidegate.author.request import PackRequest
from tidegate.author.session import Array, Tensors
from tidegate.errors import Invalid

FRAMEWORK = "LiteRT"


@dataclass(frozen=True, slots=True)
class LiteOriginal:
    """The model run by LiteRT; names of its tensors by the names that they have in the ONNX model."""

    path: Path
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    framework: str = FRAMEWORK

    def answers(self, inputs: Tensors) -> Mapping[str, Array]:
        interpreter = _interpreter(self.path)
        by_name = {details["name"]: details for details in interpreter.get_input_details()}
        for name, lite in self.inputs.items():
            interpreter.resize_tensor_input(by_name[lite]["index"], inputs[name].shape)
        interpreter.allocate_tensors()
        for name, lite in self.inputs.items():
            interpreter.set_tensor(by_name[lite]["index"], inputs[name])
        interpreter.invoke()
        found = {details["name"]: details["index"] for details in interpreter.get_output_details()}
        return {name: np.array(interpreter.get_tensor(found[lite])) for name, lite in self.outputs.items()}


def convert(found: Found, request: PackRequest) -> Converted:
    """The model as ONNX; raises Invalid for a damaged file, ConversionFailed."""
    assert found.path is not None
    tensorflow()
    interpreter = _interpreter(found.path)
    _require_runnable(interpreter, found.path)
    inputs, outputs = _names(interpreter)
    model = _converted(found.path)
    rename(model, {lite: name for names in (inputs, outputs) for name, lite in names.items()})
    cures = mend(model, "TensorFlow Lite")
    original = LiteOriginal(found.path, inputs, outputs)
    packages = (*PACKAGES, "ai-edge-litert")
    return Converted(model, original, data=given_rows(model, found, request), packages=packages, cures=cures)


def _interpreter(path: Path) -> Any:
    module = need("ai_edge_litert.interpreter", extra=EXTRA)
    try:
        return module.Interpreter(model_path=str(path), num_threads=1)
    except (ValueError, RuntimeError) as error:
        raise _damaged(path, error) from None


def _require_runnable(interpreter: Any, path: Path) -> None:
    try:
        interpreter.allocate_tensors()
    except RuntimeError as error:
        if "Select TensorFlow op" not in str(error):
            raise _damaged(path, error) from None
        raise Invalid(
            "it needs operators of TensorFlow itself (Flex), without which LiteRT cannot answer for a comparison",
            where=str(path),
            do="pack the SavedModel or Keras file that it was made from",
        ) from None


def _damaged(path: Path, error: Exception) -> Invalid:
    return Invalid(
        f"this TensorFlow Lite model is damaged or cut off: {' '.join(str(error).split())[:200]}",
        where=str(path),
        do="copy it again",
        reason="ModelInvalid",
    )


def _names(interpreter: Any) -> tuple[dict[str, str], dict[str, str]]:
    """The tensors of inputs and outputs, by names that say something: those of its signature where it has one."""
    ends = (interpreter.get_input_details(), interpreter.get_output_details())
    signatures = interpreter.get_signature_list()
    known: dict[str, str] = {}
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        for details in (runner.get_input_details(), runner.get_output_details()):
            known |= {tensor["name"]: name for name, tensor in details.items()}
    inputs, outputs = ([tensor["name"] for tensor in tensors] for tensors in ends)
    return _by_plain_name(inputs, known, "input"), _by_plain_name(outputs, known, "output")


def _by_plain_name(tensors: Sequence[str], known: Mapping[str, str], stem: str) -> dict[str, str]:
    return dict(zip(plain_names([known.get(name, "") for name in tensors], stem), tensors, strict=True))


def _converted(path: Path) -> onnx.ModelProto:
    from tf2onnx import convert

    try:
        with quiet():
            model, _ = convert.from_tflite(str(path), opset=OPSET)
    except Exception as error:  # noqa: BLE001 - tf2onnx raises whatever comes up
        raise ConversionFailed(
            f"tf2onnx cannot convert it: {' '.join(str(error).split())[:300]}", where=str(path)
        ) from None
    assert isinstance(model, onnx.ModelProto)
    return model
