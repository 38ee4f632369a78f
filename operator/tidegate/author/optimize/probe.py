"""Looking into a model while it runs: tensors between its layers as further outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime

from tidegate.author.optimize.rows import Lessons
from tidegate.author.session import ONLY_FATAL, Array, Runner, reason_of
from tidegate.bundle.errors import ModelInvalid
from tidegate.bundle.manifest import Interface


def runner_of(model: onnx.ModelProto, interface: Interface) -> Runner:
    """A model in memory, opened."""
    return Runner(_session(model), interface)


def answers(model: onnx.ModelProto, names: Sequence[str], lessons: Lessons) -> list[Array]:
    """These tensors of the model, outputs or between its layers, for all rows; one array each."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = _session(copy)
    try:
        parts = [session.run(list(names), request) for request in lessons.requests()]
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a dozen types without a common base
        raise ModelInvalid(f"it does not run: {reason_of(error)}", where="the model") from None
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ONLY_FATAL
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - as below
        raise ModelInvalid(f"ONNX Runtime cannot load it: {reason_of(error)}", where="the model") from None
