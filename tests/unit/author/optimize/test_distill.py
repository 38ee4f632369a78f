"""Distillation: a student in the parent's place, whatever the parent's outputs are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tidegate.author import PackRequest
from tidegate.author.describe import interface_of
from tidegate.author.frameworks import Converted, Found, convert
from tidegate.author.optimize import OptimizeRequest, distill
from tidegate.author.optimize.distill import distilled
from tidegate.author.optimize.probe import answers
from tidegate.author.optimize.quality import ACCURACY, R2
from tidegate.author.optimize.rows import Lessons
from tidegate.errors import Failed

SCRIPT = """
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPRegressor

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

def network():
    return MLPRegressor(hidden_layer_sizes=(8,), max_iter=3, random_state=0)

def few(rows, scores):
    assert len(rows) == 3 * 400
    return LinearRegression().fit(rows, scores)
"""


@pytest.fixture
def teach(tmp_path: Path, ask: Callable[..., OptimizeRequest]) -> Callable[..., onnx.ModelProto]:
    """Distil a model by the function of that name."""
    script = tmp_path / "student.py"
    script.write_text(SCRIPT)

    def made(model: onnx.ModelProto, lessons: Lessons, student: str = "student", metric: str = R2) -> onnx.ModelProto:
        return distilled(interface_of(model), model, lessons, ask(student=f"{script}:{student}"), metric)

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


@pytest.fixture
def probability(build: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    """16 columns to one probability."""
    weight = np.random.default_rng(0).standard_normal((16, 1)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "A"], ["z"]), helper.make_node("Sigmoid", ["z"], ["y"])]
    return build(nodes, (16,), {"A": weight})


def test_a_single_probability_comes_back_as_one(probability: onnx.ModelProto, teach: Any, lessons: Lessons) -> None:
    student = teach(probability, lessons, metric=ACCURACY)

    before, after = (answers(each, ["y"], lessons)[0] for each in (probability, student))
    assert np.abs(before - after).max() < 0.01  # what comes before the sigmoid is linear
    assert ((after >= 0) & (after <= 1)).all()


def test_numbers_between_0_and_1_stay_numbers_where_they_are_judged_as_such(
    probability: onnx.ModelProto, teach: Any, lessons: Lessons
) -> None:
    student = teach(probability, lessons, metric=R2)

    assert "Sigmoid" not in {node.op_type for node in student.graph.node}


def test_a_student_may_keep_its_weights_beside_its_graph(
    dense: Any, teach: Any, lessons: Lessons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beside(found: Found, request: PackRequest) -> Converted:
        converted = convert(found, request)
        for tensor in converted.model.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))  # as raw bytes
        onnx.save(converted.model, tmp_path / "beside.onnx", save_as_external_data=True, size_threshold=0)
        model = onnx.load(tmp_path / "beside.onnx", load_external_data=False)
        return replace(converted, model=model, weights=tmp_path)

    inside = teach(dense(), lessons, "network")
    monkeypatch.setattr(distill, "convert", beside)

    student = teach(dense(), lessons, "network")

    assert len(list(tmp_path.glob("*"))) > 2
    np.testing.assert_array_equal(answers(student, ["y"], lessons)[0], answers(inside, ["y"], lessons)[0])


def test_the_copies_of_wide_rows_are_fewer(
    dense: Any, teach: Any, lessons: Lessons, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distill, "MOST_BYTES", 2 * lessons.pool["x"].nbytes)

    assert teach(dense(), lessons, "few")


def test_a_label_beside_a_single_score_is_refused(
    build: Callable[..., onnx.ModelProto], teach: Any, lessons: Lessons
) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "A"], ["y"]),
        helper.make_node("ArgMax", ["y"], ["label"], axis=1, keepdims=0),
    ]
    model = build(nodes, (16,), {"A": np.ones((16, 1), np.float32)})
    model.graph.output.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]))

    with pytest.raises(Failed, match="it has a label and one score only"):
        teach(model, lessons)


def test_a_column_has_the_label_that_it_mostly_wins_with(classifier: Any, teach: Any, lessons: Lessons) -> None:
    names = np.array([30, 10, 20])
    model = classifier(names.tolist())
    weighted = helper.make_node("Mul", ["probabilities", "factors"], ["weighted"])
    model.graph.node.insert(2, weighted)
    model.graph.node[3].input[0] = "weighted"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 3, 1], np.float32), "factors"))
    scores, labels = answers(model, ["probabilities", "label"], lessons)
    turned = names[scores.argmax(axis=1)] != labels
    rows = lessons.pool["x"][np.argsort(~turned, kind="stable")]
    assert 0 < turned.sum() < 100

    student = teach(model, Lessons({"x": rows}))

    scores, labels = answers(student, ["probabilities", "label"], lessons)
    assert (labels == names[scores.argmax(axis=1)]).all()


def test_the_parents_names_may_be_any(dense: Any, teach: Any, lessons: Lessons) -> None:
    model = dense()
    names = {"x": "scale", "y": "scaled"}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names[value.name]

    student = teach(model, Lessons({"scale": lessons.pool["x"]}))

    assert interface_of(student) == interface_of(model)
