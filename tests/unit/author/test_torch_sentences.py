"""What torch's errors mean, told from their texts as torch 2.15 writes them; nothing here needs torch."""

from __future__ import annotations

from tidegate.author.frameworks.torch.sentences import (
    Step,
    failing_node,
    first_line,
    of_conversion,
    of_tracing,
    of_weights,
    training_step,
)

GUARD = """
def forward(self, arg0_1: "f32[s77, 4]"):
    # File: /home/ann/model.py:6 in forward, code: if x.sum() > 0:

Could not guard on data-dependent expression Eq(u0, 1) (unhinted: Eq(u0, 1)).  (Size-like symbols: none)

Caused by: (_export/non_strict_utils.py:1410 in __torch_function__)

The following call raised this error:
  File "/home/ann/model.py", line 6, in forward
    if x.sum() > 0:
"""
SPECIALIZED = """Could not extract specialized integer from data-dependent expression TruncToInt(zuf0).
Caused by: (nets/model.py:10 in forward)
"""
DISPATCH = """Failed to convert the exported program to an ONNX model. \x1b[96mThis is step 3/3\x1b[0m

## Exception summary

<class 'torch.onnx._internal.exporter._errors.DispatchError'>: No ONNX function found for <OpOverload(op='aten._linalg_svd', overload='default')>. Failure message: No decompositions registered
⬆️
<class 'torch.onnx._internal.exporter._errors.ConversionError'>: Error when translating node %_linalg_svd : [num_users=1] = call_function[target=torch.ops.aten._linalg_svd.default](args = (%view, True), kwargs = {}).
"""
ASSERTED = """Failed to convert the exported program to an ONNX model.

## Exception summary

<class 'AssertionError'>: only 4D query, key, and value are supported
⬆️
<class 'torch.onnx._internal.exporter._errors.ConversionError'>: Error when translating node %attention : [num_users=1] = call_function[target=torch.ops.aten.scaled_dot_product_attention.default](args = (), kwargs = {}).
"""
UNPICKLER = """Weights only load failed. This file can still be loaded, to do so you have two options.
WeightsUnpickler error: Unsupported global: GLOBAL pathlib.PosixPath was not an allowed global by default.
"""


def test_a_decision_by_a_value_is_told_with_the_users_own_line() -> None:
    found = of_tracing(GUARD)

    assert found.what == ("forward() depends on a value that is only known when it runs (model.py:6: if x.sum() > 0:)")
    assert "torch.where" in found.do


def test_a_value_taken_from_a_tensor_is_told_with_its_place() -> None:
    assert of_tracing(SPECIALIZED).what.endswith("only known when it runs (model.py:10)")


def test_anything_else_that_cannot_be_followed_is_told_with_torchs_reason() -> None:
    found = of_tracing("Tensor.numpy() is not supported for tensor subclasses.\nmore")

    assert found.what == "torch cannot follow forward(): Tensor.numpy() is not supported for tensor subclasses"


def test_an_operator_without_an_onnx_form_is_named_with_its_layer() -> None:
    assert of_conversion(DISPATCH, "head (Head)").what == "ONNX has no form of aten._linalg_svd in layer head (Head)"
    assert failing_node(DISPATCH) == "_linalg_svd"


def test_the_older_exporters_unsupported_operator_is_named_too() -> None:
    text = "Exporting the operator 'aten::linalg_svd' to ONNX opset version 20 is not supported."

    assert of_conversion(text, "").what == "ONNX has no form of aten::linalg_svd"


def test_a_dictionary_from_torchscript_is_told_as_such() -> None:
    text = "Exporting the operator 'prim::DictConstruct' to ONNX opset version 20 is not supported."

    assert of_conversion(text, "").do == "return a tuple of tensors"


def test_a_translation_that_fails_is_told_with_its_first_cause() -> None:
    found = of_conversion(ASSERTED, "attention (Attention)")

    assert found.what == (
        "torch cannot write aten.scaled_dot_product_attention in layer attention (Attention) as ONNX: "
        "only 4D query, key, and value are supported"
    )


def test_weights_that_would_run_code_are_told_by_what_they_hold_not_by_torchs_advice() -> None:
    assert of_weights(UNPICKLER) == "reading it would have to run code: it holds a pathlib.PosixPath"


def test_a_step_that_computes_as_in_training_is_found_by_its_argument() -> None:
    still = Step("aten.dropout.default", ("x", 0.5, False), "drop")
    drops = Step("aten.dropout.default", ("x", 0.5, True), "drop")
    statistics = Step("aten.batch_norm.default", ("x", "w", "b", None, None, True, 0.1, 1e-5, True), "norm")
    other = Step("aten.relu.default", ("x",))

    assert training_step([other, still]) is None
    assert training_step([other, still, drops]) is drops
    assert training_step([statistics]) is statistics


def test_the_first_line_that_says_something_is_short_and_without_colours() -> None:
    assert first_line("\n\n \x1b[96mit failed\x1b[0m.\nmore") == "it failed"
    assert first_line("") == "it gives no reason"
    assert len(first_line("x" * 1000)) == 300
