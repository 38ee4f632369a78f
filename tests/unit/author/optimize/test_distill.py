"""Distillation: a student in the parent's place, whatever the parent's outputs are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tidegate.author.describe import interface_of
from tidegate.author.optimize import OptimizeRequest
from tidegate.author.optimize.distill import distilled
from tidegate.author.optimize.probe import answers
from tidegate.author.optimize.rows import Lessons
from tidegate.errors import Failed

SCRIPT = """
from sklearn.linear_model import LinearRegression, LogisticRegression

def student():
    return LinearRegression()

def trained(rows, scores):
    assert len(rows) == len(scores) > 4000
    return LinearRegression().fit(rows, scores)

def classifier():
    return LogisticRegression()

def narrow(rows, scores):
    return LinearRegression().fit(rows, scores[:, :2])

def number():
    return 7
"""


@pytest.fixture
def teach(tmp_path: Path, ask: Callable[..., OptimizeRequest]) -> Callable[..., onnx.ModelProto]:
    """Distil a model by the function of that name."""
    script = tmp_path / "student.py"
    script.write_text(SCRIPT)

    def made(model: onnx.ModelProto, lessons: Lessons, student: str = "student") -> onnx.ModelProto:
        return distilled(interface_of(model), model, lessons, ask(student=f"{script}:{student}"))

    return made


@pytest.fixture
def classifier(build: Callable[..., onnx.ModelProto]) -> Callable[..., onnx.ModelProto]:
    """A linear classifier of 16 columns with `probabilities`, and `label` out of these names."""

    def model(names: Any, bias: Any = (0, 0, 0)) -> onnx.ModelProto:
        weight = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
        nodes = [
            helper.make_node("Gemm", ["x", "A", "a"], ["z"]),
            helper.make_node("Softmax", ["z"], ["probabilities"]),
            helper.make_node("ArgMax", ["probabilities"], ["at"], axis=1, keepdims=0),
            helper.make_node("Gather", ["names", "at"], ["label"]),
        ]
        names = np.array(names, dtype=object if isinstance(names[0], str) else np.int64)
        made = build(nodes, (16,), {"A": weight, "a": np.array(bias, np.float32), "names": names}, ("probabilities",))
        kind = TensorProto.STRING if names.dtype == object else TensorProto.INT64
        made.graph.output.insert(0, helper.make_tensor_value_info("label", kind, ["batch"]))
        return made

    return model


def test_a_regressor_becomes_a_student_with_the_parents_interface(dense: Any, teach: Any, lessons: Lessons) -> None:
    model = dense()

    student = teach(model, lessons)

    assert interface_of(student) == interface_of(model)
    before, after = (answers(each, ["y"], lessons)[0] for each in (model, student))
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("names", [["ant", "bee", "cat"], [30, 10, 20]], ids=["texts", "numbers"])
def test_probabilities_and_the_label_of_their_winner_come_back(
    classifier: Any, teach: Any, lessons: Lessons, names: Any
) -> None:
    model = classifier(names)

    student = teach(model, lessons)

    wanted, found = (answers(each, ["probabilities", "label"], lessons) for each in (model, student))
    assert np.abs(wanted[0] - found[0]).max() < 0.1  # the logarithms of a linear classifier's scores are nearly linear
    assert (wanted[1] == found[1]).mean() > 0.99
    assert interface_of(student) == interface_of(model)


def test_a_function_of_rows_and_scores_gives_a_trained_model(dense: Any, teach: Any, lessons: Lessons) -> None:
    taught, trained = (teach(dense(), lessons, name) for name in ("student", "trained"))

    weights = [numpy_helper.to_array(tensor) for each in (taught, trained) for tensor in each.graph.initializer]
    assert any(np.allclose(weights[0], other) for other in weights[1:] if other.shape == weights[0].shape)


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ("classifier", "a student learns scores, and LogisticRegression cannot be fitted to them"),
        ("narrow", "answers .2. numbers per row, 4 are to be learnt"),
        ("number", "a student learns scores, and int cannot"),
        ("absent", "there is no function 'absent'"),
    ],
)
def test_what_is_no_student_is_refused(dense: Any, teach: Any, lessons: Lessons, student: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        teach(dense(), lessons, student)


def test_a_class_that_no_row_shows_has_no_label_to_learn(classifier: Any, teach: Any, lessons: Lessons) -> None:
    with pytest.raises(Failed, match="none of the calibration rows is of class number 1"):
        teach(classifier(["a", "b", "c"], bias=(0, -1e3, 0)), lessons)


def test_a_model_whose_place_no_student_can_take_is_refused(build: Any, teach: Any, lessons: Lessons) -> None:
    weights = {"A": np.ones((16, 4), np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "A"], ["y"]), helper.make_node("Relu", ["y"], ["r"])]

    with pytest.raises(Failed, match="one FP32 input and one output of scores"):
        teach(build(nodes, (16,), weights, outputs=("y", "r")), lessons)
