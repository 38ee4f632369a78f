"""Quantization: smaller, nearly the same answers, and a sentence where there is nothing to quantize."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tidegate.author.optimize import half, quantize, simplify
from tidegate.author.optimize.parent import lift_constants
from tidegate.author.optimize.probe import answers
from tidegate.author.optimize.rows import Lessons
from tidegate.errors import Failed


def _moved(model: onnx.ModelProto, changed: onnx.ModelProto, lessons: Lessons) -> float:
    """How far the answers moved, of their standard deviation."""
    before, after = (answers(each, ["y"], lessons)[0] for each in (model, changed))
    return float(np.abs(after - before).mean() / before.std())


def _kinds(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def test_static_quantization_keeps_the_answers(dense: Any, lessons: Lessons) -> None:
    model = dense()

    changed = quantize.static(model, lessons)

    assert {"QuantizeLinear", "DequantizeLinear"} <= _kinds(changed)
    assert 0 < _moved(model, changed, lessons) < 0.02


def test_outputs_are_not_rounded_to_8_bits(dense: Any, lessons: Lessons) -> None:
    changed = quantize.static(dense(), lessons)

    makers = {name: node.op_type for node in changed.graph.node for name in node.output}
    assert makers["y"] == "Gemm"
    assert len(np.unique(answers(changed, ["y"], lessons)[0])) > 1000


def test_weights_have_7_bits_so_that_sums_saturate_nowhere(dense: Any, lessons: Lessons) -> None:
    for changed in (quantize.static(dense(), lessons), quantize.dynamic(dense())):
        weights = [numpy_helper.to_array(t) for t in changed.graph.initializer if t.data_type == onnx.TensorProto.INT8]
        assert max(int(np.abs(weight).max()) for weight in weights if weight.size) <= 64


def test_dynamic_quantization_keeps_the_answers(dense: Any, lessons: Lessons) -> None:
    model = dense()

    changed = quantize.dynamic(model)

    assert "MatMulInteger" in _kinds(changed)
    assert 0 < _moved(model, changed, lessons) < 0.02


def test_biases_with_two_dimensions_as_of_skl2onnx_are_quantized_too(dense: Any, lessons: Lessons) -> None:
    model = dense()
    for tensor in model.graph.initializer:
        if tensor.name in "ab":
            tensor.dims[:] = [1, *tensor.dims]

    assert _moved(model, quantize.static(model, lessons), lessons) < 0.02


def test_a_model_of_an_operator_set_without_scales_per_channel_is_brought_to_a_newer_one(
    dense: Any, lessons: Lessons
) -> None:
    model = dense()
    model.opset_import[0].version, model.ir_version = 11, 6

    changed = quantize.static(model, lessons)

    assert changed.opset_import[0].version == 13
    assert _moved(model, changed, lessons) < 0.02


def test_what_the_libraries_do_not_know_is_one_sentence(
    dense: Any, lessons: Lessons, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise ValueError("an operator\nof the future")

    monkeypatch.setattr(quantize, "quantize_static", unknown)

    with pytest.raises(Failed, match="--int8: this model is beyond it: an operator of the future"):
        quantize.static(dense(), lessons)


def test_weights_in_constant_nodes_are_lifted_and_normalizations_joined_without_symbolic_shapes(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    vectors = {name: np.abs(random.standard_normal(4)).astype(np.float32) for name in ("s", "o", "m", "v")}
    kernel = numpy_helper.from_array(random.standard_normal((4, 1, 3, 3)).astype(np.float32), "K")
    model = build(
        [
            helper.make_node("Constant", [], ["K"], value=kernel),
            helper.make_node("Conv", ["x", "K"], ["c"]),
            helper.make_node("BatchNormalization", ["c", *vectors], ["n"]),
            helper.make_node("GlobalAveragePool", ["n"], ["g"]),
            helper.make_node("Flatten", ["g"], ["y"]),
        ],
        (1, 8, 8),
        vectors,
    )
    lift_constants(model)
    monkeypatch.setattr("onnxruntime.tools.symbolic_shape_infer.SymbolicShapeInference.infer_shapes", _failing)

    ready = simplify.prepared(model)

    assert [node.op_type for node in ready.graph.node] == ["Conv", "GlobalAveragePool", "Flatten"]


def _failing(*_: Any, **__: Any) -> None:
    raise AssertionError


def test_single_layers_can_be_quantized_or_left(dense: Any, lessons: Lessons, tmp_path: Any) -> None:
    calibrated = quantize.calibrate(dense(), lessons, tmp_path)

    assert calibrated.layers() == ["first", "second"]
    for changed in (calibrated.quantized(only=["first"]), calibrated.quantized(left=["second"])):
        types = {tensor.name: tensor.data_type for tensor in changed.graph.initializer}
        assert types["B"] == onnx.TensorProto.FLOAT
        assert types["A_quantized"] == onnx.TensorProto.INT8


def test_a_model_that_takes_one_row_at_a_time_is_calibrated_row_by_row(dense: Any, lessons: Lessons) -> None:
    model = dense()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    alone = Lessons({"x": lessons.pool["x"][:40, None]}, alone=True)

    assert _moved(model, quantize.static(model, alone), alone) < 0.05


@pytest.mark.parametrize("how", [quantize.dynamic, lambda model: quantize.static(model, _few())])
def test_operators_that_cannot_be_quantized_are_named(build: Any, how: Any) -> None:
    model = build([helper.make_node("Sin", ["x"], ["y"])], (16,), {})

    with pytest.raises(Failed, match="none of its operators can be quantized: it has Sin"):
        how(model)


def _few() -> Lessons:
    return Lessons({"x": np.ones((4, 16), np.float32)})


def test_fp16_halves_the_weights_and_keeps_inputs_and_outputs(dense: Any, lessons: Lessons) -> None:
    model = dense()

    changed = half.halved(model)

    types = {tensor.name: tensor.data_type for tensor in changed.graph.initializer}
    assert types["A"] == types["B"] == onnx.TensorProto.FLOAT16
    assert [value.type for value in changed.graph.input] == [value.type for value in model.graph.input]
    assert 0 < _moved(model, changed, lessons) < 0.002


def test_fp16_of_a_model_without_weights_is_refused(build: Any) -> None:
    with pytest.raises(Failed, match="no 32-bit weights that could be halved"):
        half.halved(build([helper.make_node("Sin", ["x"], ["y"])], (16,), {}))
