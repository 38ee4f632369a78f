"""Which outputs a step function lies before, so that rounding may tip them over."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import TensorProto, helper

from tidegate.author.tipping import may_tip

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def graph(*nodes: Any, kind: int = FLOAT, outputs: tuple[str, ...] = ("y",)) -> Any:
    inputs = [helper.make_tensor_value_info("x", kind, ["batch", 4])]
    values = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    return helper.make_model(helper.make_graph(list(nodes), "g", inputs, values))


@pytest.mark.parametrize("operator", ["TreeEnsembleRegressor", "ArgMax", "Round", "Less", "Sign"])
def test_a_step_tips_all_that_is_computed_from_it(operator: str) -> None:
    model = graph(helper.make_node(operator, ["x"], ["stepped"]), helper.make_node("Mul", ["stepped", "two"], ["y"]))

    assert may_tip(model) == {"y"}


@pytest.mark.parametrize("operator", ["MatMul", "Relu", "Softmax", "LayerNormalization"])
def test_what_has_no_step_does_not_tip(operator: str) -> None:
    assert may_tip(graph(helper.make_node(operator, ["x"], ["y"]))) == set()


def test_a_classifier_tips_its_class_and_not_its_scores() -> None:
    model = graph(helper.make_node("LinearClassifier", ["x"], ["label", "scores"]), outputs=("label", "scores"))

    assert may_tip(model) == {"label"}


def test_what_is_computed_of_sizes_and_weights_alone_does_not_tip() -> None:
    shape = helper.make_node("Shape", ["x"], ["shape"])
    less = helper.make_node("Less", ["shape", "w"], ["short"])

    assert may_tip(graph(shape, less, helper.make_node("Where", ["short", "x", "w"], ["y"]))) == set()


@pytest.mark.parametrize(("kind", "tips"), [(FLOAT, {"y"}), (INT64, set())])
def test_only_numbers_that_were_rounded_tip(kind: int, tips: set[str]) -> None:
    assert may_tip(graph(helper.make_node("Cast", ["x"], ["y"], to=INT64), kind=kind)) == tips


def test_a_step_inside_a_branch_tips_what_the_branch_gives() -> None:
    value = helper.make_tensor_value_info("inner", FLOAT, None)
    branch = helper.make_graph([helper.make_node("Floor", ["x"], ["inner"])], "b", [], [value])
    node = helper.make_node("If", ["always"], ["y"], then_branch=branch, else_branch=branch)

    assert may_tip(graph(node)) == {"y"}
