"""Every framework that `pack` converts from: what was found, which module turns it into ONNX, and what that gives.

A framework is a module here with `convert(found, request) -> Converted`, and a line per kind in `FRAMEWORKS`.  Its
packages are imported when the first model of its kind is packed, never before.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import onnx

from tidegate.author.request import PackRequest
from tidegate.author.session import Array, Tensors
from tidegate.errors import Failed


class ConversionFailed(Failed):
    """The framework's converter does not know this model, or refuses a part of it."""

    reason = "ConversionFailed"


@dataclass(frozen=True, slots=True)
class Found:
    """What is to be packed: a file or folder of some kind, or a Python object.

    `folder` is asked for its Git commit; `example` is what a factory gave beside its model: an array, columns by name,
    or a tuple of arrays.
    """

    kind: str
    path: Path | None = None
    value: Any = None
    folder: Path | None = None
    example: Any = None


class Original(Protocol):
    """A model in its own framework, for comparison with its ONNX form."""

    @property
    def framework(self) -> str:
        """Its name as people write it: "scikit-learn"."""

    def answers(self, inputs: Tensors) -> Mapping[str, Array]:
        """What it answers to the ONNX model's inputs, by the ONNX model's output names.

        An output that it has no counterpart for may be left out: it is then not compared.
        """


@dataclass(frozen=True, slots=True)
class Converted:
    """A model as ONNX, with its weights inside or as external data in the folder `weights`.

    `original` is None for what was ONNX already and stays as it is.  `data` are the rows of `PackRequest.data`, or else
    of the example, as the model's inputs.  `packages` are the distributions that took part; `cures` say what was
    mended, each a sentence.  `training` and `metrics` go into the manifest as they are; `samples` are requests with
    their answers that came with the model, by input and output name; `labels` are the classes of its scores, for
    labels.txt.
    """

    model: onnx.ModelProto
    original: Original | None
    weights: Path | None = None
    data: Tensors | None = None
    packages: tuple[str, ...] = ()
    cures: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    samples: tuple[tuple[Tensors, Tensors], ...] = ()
    labels: tuple[str, ...] = ()


NEWEST_OPSET = 21  # what ONNX Runtime 1.20 and later run; no converter is asked for more

# Kind -> the module that converts it, and the extra that brings what that module imports.
FRAMEWORKS: dict[str, tuple[str, str]] = {
    "onnx": ("onnx_model", "runtime"),
    "estimator": ("sklearn", "sklearn"),
    "frozen-graph": ("tensorflow", "tensorflow"),
    "jax": ("jax", "jax"),
    "keras": ("keras", "tensorflow"),
    "saved-model": ("tensorflow", "tensorflow"),
    "tflite": ("tflite", "tensorflow"),
    "xgboost": ("boosted", "xgboost"),
    "lightgbm": ("boosted", "lightgbm"),
    "catboost": ("boosted", "catboost"),
    "mlflow": ("mlflow", "runtime"),  # the model in it decides
    "huggingface": ("huggingface", "huggingface"),
    "onnxscript": ("onnx_script", "onnxscript"),
    "torch-exported": ("torch.exported", "torch"),
    "torch-module": ("torch.module", "torch"),
    "torch-pickle": ("torch.pickled", "torch"),
    "torchscript": ("torch.script", "torch"),
}


def convert(found: Found, request: PackRequest) -> Converted:
    """`found` as ONNX; raises ConversionFailed, MissingExtra, or Invalid for what cannot be."""
    module, _ = FRAMEWORKS[found.kind]
    converter = importlib.import_module(f"{__name__}.{module}")
    converted = converter.convert(found, request)
    assert isinstance(converted, Converted)
    return converted
