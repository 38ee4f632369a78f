"""Graph optimization without any change of its answers: constants folded, normalizations joined, dead nodes gone.

ONNX Runtime's own basic level: what it writes is plain ONNX for every device.  Its higher levels bake in this
machine's instruction set; a server does those when it loads the model.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnxruntime
from onnxruntime.quantization import quant_pre_process

from tidegate.author.graph import nodes
from tidegate.author.optimize.parent import name_nodes
from tidegate.author.session import ONLY_FATAL, reason_of
from tidegate.bundle.errors import ModelInvalid
from tidegate.errors import Failed

PER_CHANNEL = 13  # the first operator set whose QuantizeLinear has an axis


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with fewer nodes; `model` itself stays as it is."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = ONLY_FATAL
    with tempfile.TemporaryDirectory(prefix="tidegate-optimize-") as scratch:
        source, target = Path(scratch) / "source.onnx", Path(scratch) / "target.onnx"
        onnx.save(model, source)
        options.optimized_model_filepath = str(target)
        try:
            onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a dozen types without a common base
            raise ModelInvalid(f"ONNX Runtime cannot load it: {reason_of(error)}", where="the model") from None
        return _as_before(onnx.load(target), model)


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """Simplified, with the shape of every tensor: what quantization needs before it, always.

    Brought to an operator set in which a scale per channel can be said.
    """
    model = _with_scales_per_channel(model)
    with tempfile.TemporaryDirectory(prefix="tidegate-optimize-") as scratch, quiet():
        source, target = Path(scratch) / "source.onnx", Path(scratch) / "prepared.onnx"
        onnx.save(model, source)  # of a model in memory the weights count as not constant, and nothing is folded
        skip = False
        while True:
            try:
                quant_pre_process(source, target, skip_symbolic_shape=skip, auto_merge=True)
                break
            except Exception as error:  # noqa: BLE001 - symbolic shapes fail with bare Exceptions
                if skip:
                    raise Failed(f"its shapes cannot be inferred: {reason_of(error)}", where="the model") from None
                skip = True  # operators that it does not know; plain shape inference is enough for most graphs
        return _as_before(onnx.load(target), model)


def _with_scales_per_channel(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset >= PER_CHANNEL:
        return model
    with refusing("the model"):
        return onnx.version_converter.convert_version(model, PER_CHANNEL)


def _as_before(changed: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """The inputs and outputs as they were named and sized, and a name for every node."""
    for mine, before in ((changed.graph.input, model.graph.input), (changed.graph.output, model.graph.output)):
        wanted = {value.name: value for value in before}
        for value in mine:
            value.CopyFrom(wanted[value.name])
    changed.producer_name, changed.producer_version = model.producer_name, model.producer_version
    _flatten_biases(changed)
    name_nodes(changed)
    return changed


def forget_domains(model: onnx.ModelProto) -> None:
    """Keep the operator sets that some node is of: ONNX Runtime writes down all that it knows."""
    used = {"", *(node.domain for node in nodes(model))}
    kept = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _flatten_biases(model: onnx.ModelProto) -> None:
    """[1, n] as [n], which means the same to Gemm; skl2onnx writes the former, and quantize_static fails on it."""
    biases = {node.input[2] for node in model.graph.node if node.op_type == "Gemm" and len(node.input) > 2}  # noqa: PLR2004
    others = {name for node in model.graph.node for name in node.input if node.op_type != "Gemm"}
    for tensor in model.graph.initializer:
        if tensor.name in biases - others and len(tensor.dims) == 2 and tensor.dims[0] == 1:  # noqa: PLR2004
            tensor.dims[:] = tensor.dims[1:]


@contextlib.contextmanager
def refusing(where: str) -> Iterator[None]:
    """What the libraries raise about a model that they do not know how to change, as one sentence."""
    try:
        yield
    except (ValueError, RuntimeError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise Failed(f"this model is beyond it: {reason_of(error)}", where=where, reason="NotOptimizable") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' talk on the root logger: what matters comes as an error or a figure."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
