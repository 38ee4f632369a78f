"""Distillation: a small student learns what the parent answers, not what the labels say.

The scores of the parent tell more than a class does: how near a row is to which other class.  The student learns them
from the calibration rows and from copies of these with a little noise, to which the parent's answers are known too.
It then gets the parent's inputs and outputs, so that it can take the parent's place.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tidegate.author.describe import interface_of
from tidegate.author.extras import need
from tidegate.author.frameworks import Converted, convert
from tidegate.author.golden import tolerances
from tidegate.author.optimize.probe import answers, runner_of
from tidegate.author.optimize.quality import ACCURACY
from tidegate.author.optimize.request import OptimizeRequest
from tidegate.author.optimize.rows import Lessons
from tidegate.author.optimize.simplify import simplified
from tidegate.author.parity import Comparison
from tidegate.author.request import DataSet, PackRequest
from tidegate.author.session import Array
from tidegate.author.source import Factory, called, factory_at, found_in
from tidegate.bundle.element_types import FLOATS
from tidegate.bundle.manifest import Interface, TensorSpec
from tidegate.errors import Failed

COPIES, MOST_ROWS = 10, 50_000  # of the calibration rows, with noise
MOST_BYTES = 1 << 30  # of these copies
NOISE = 0.1  # of each column's standard deviation
LEAST = 1e-6  # of a probability, before its logarithm
MATRIX = 2  # dimensions
OF_STUDENT, ADDED = "student/", "from-student/"  # what tensors are called that would clash with the parent's
SOFTMAX, SIGMOID, AS_THEY_ARE = "Softmax", "Sigmoid", "Identity"


@dataclass(frozen=True, slots=True)
class Teacher:
    """The parent's side of it: the input, the scores that are learnt, and the output that names their winner."""

    input: TensorSpec
    scores: TensorSpec
    label: TensorSpec | None


def teacher_of(interface: Interface) -> Teacher:
    """Raises Failed for a model whose place a student of one matrix in and one out cannot take."""
    scores = [output for output in interface.outputs if output.element_type in FLOATS]
    labels = [output for output in interface.outputs if output.element_type in ("INT64", "BYTES")]
    inputs = interface.inputs
    plain = (
        interface.batched
        and len(inputs) == len(scores) == 1
        and len(labels) < MATRIX
        and inputs[0].element_type == "FP32"
    )
    if not plain or len(interface.outputs) > len(scores) + len(labels) or len(scores[0].shape) != MATRIX:
        raise Failed(
            "a student can stand in for a model with one FP32 input and one output of scores (and a label of them)",
            where="--distill",
            do="derive the part of the model that is to be learnt first",
            reason="NotOptimizable",
        )
    return Teacher(inputs[0], scores[0], labels[0] if labels else None)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the student learns: numbers per row, which the operator `turned_back` makes scores of the parent's kind."""

    rows: Array
    targets: Array
    scale: float
    turned_back: str
    classes: Array | None  # the label of each column of the scores


def distilled(
    interface: Interface, model: onnx.ModelProto, lessons: Lessons, request: OptimizeRequest, metric: str
) -> onnx.ModelProto:
    """The student that `request.student` makes, taught by `model`, behind the parent's inputs and outputs.

    `metric` is what the parent is judged by: a single column of scores is a probability where that is accuracy.
    """
    teacher, factory = teacher_of(interface), factory_at(request.student)
    lesson = _lesson(model, teacher, lessons.pool[teacher.input.name], request.seed, metric)
    converted = _student(factory, lesson, request)
    _require_fit(converted, lesson)
    return simplified(_in_place(converted.model, teacher, lesson, model))


def _lesson(model: onnx.ModelProto, teacher: Teacher, rows: Array, seed: int, metric: str) -> Lesson:
    random = np.random.default_rng(seed)
    copies = min(COPIES, MOST_ROWS // len(rows), MOST_BYTES // rows.nbytes)
    spread = NOISE * rows.std(axis=0, keepdims=True)
    noisy = [rows + spread * random.standard_normal(rows.shape, dtype=np.float32) for _ in range(copies)]
    every = np.concatenate([rows, *noisy]).astype(np.float32)
    names = [teacher.scores.name, *([teacher.label.name] if teacher.label else [])]
    scores, *labels = answers(model, names, Lessons({teacher.input.name: every}))
    scores = scores.astype(np.float64)
    turned_back = _turned_back(scores, metric)
    targets = TARGETS[turned_back](scores)
    classes = _classes(scores, labels[0].reshape(-1)) if labels else None
    scale = float(targets.std()) or 1.0
    return Lesson(every, targets / scale, scale, turned_back, classes)


def _turned_back(scores: Array, metric: str) -> str:
    """The operator that the parent's scores could have come out of, so that the student's cannot be others."""
    if scores.shape[1] == 1:
        return SIGMOID if metric == ACCURACY and ((scores >= 0) & (scores <= 1)).all() else AS_THEY_ARE
    return SOFTMAX if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3) else AS_THEY_ARE


def _logarithms(scores: Array) -> Array:
    logarithms = np.log(np.maximum(scores, LEAST))
    return np.asarray(logarithms - logarithms.mean(axis=1, keepdims=True))


def _logits(scores: Array) -> Array:
    inside = np.clip(scores, LEAST, 1 - LEAST)
    return np.asarray(np.log(inside) - np.log(1 - inside))


TARGETS: Mapping[str, Callable[[Array], Array]] = {
    SOFTMAX: _logarithms,
    SIGMOID: _logits,
    AS_THEY_ARE: lambda scores: scores,
}


def _classes(scores: Array, labels: Array) -> Array:
    """The label that each column of the scores stands for: the one seen most often where that column wins."""
    if scores.shape[1] == 1:
        raise Failed(
            "it has a label and one score only, which does not say how the label follows from it",
            where="--distill",
            do="derive the part of the model that is to be learnt first: tidegate derive --outputs",
            reason="NotOptimizable",
        )
    winners = scores.argmax(axis=1)
    missing = sorted(set(range(scores.shape[1])) - set(winners.tolist()))
    if missing:
        raise Failed(
            f"none of the calibration rows is of class number {missing[0]}, so its label is not known",
            where="--calibration",
            do="give rows of every class",
            reason="NotOptimizable",
        )
    return np.array([_most_frequent(labels[winners == column]) for column in range(scores.shape[1])])


def _most_frequent(labels: Array) -> Any:
    names, counts = np.unique(labels, return_counts=True)
    return names[counts.argmax()]


def _student(factory: Factory, lesson: Lesson, request: OptimizeRequest) -> Converted:
    """What the factory made, as ONNX.

    A factory without parameters gives an untrained scikit-learn regressor, which is fitted here; one with two is given
    the rows and what is to be answered, and gives a trained model of any framework that `pack` takes.
    """
    source = request.student
    if len(inspect.signature(factory.function).parameters) == MATRIX:
        made = called(factory, source, lesson.rows, lesson.targets)
    else:
        made = _fitted(called(factory, source), lesson, source)
    ask = PackRequest(request.out, request.name or "student", request.version, data=DataSet("rows", {"X": lesson.rows}))
    converted = convert(found_in(made, source, factory.folder), ask)
    if converted.weights is not None:
        onnx.load_external_data_for_model(converted.model, str(converted.weights))
    return converted


def _fitted(estimator: Any, lesson: Lesson, source: str) -> Any:
    base = need("sklearn.base", extra="sklearn")
    if not hasattr(estimator, "fit") or base.is_classifier(estimator):
        raise Failed(
            f"a student learns scores, and {type(estimator).__name__} cannot be fitted to them",
            where=source,
            do="give a regressor, such as MLPRegressor, or a function of (rows, scores) that returns a trained model",
        )
    targets = lesson.targets[:, 0] if lesson.targets.shape[1] == 1 else lesson.targets
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an end before convergence: the accuracy tells
        try:
            return estimator.fit(lesson.rows, targets)
        except ValueError as error:
            raise Failed(f"it cannot be fitted: {str(error)[:200]}", where=source) from None


def _require_fit(converted: Converted, lesson: Lesson) -> None:
    """The student in ONNX is the student, and answers one number per score."""
    interface = interface_of(converted.model)
    runner = runner_of(converted.model, interface)
    rows = {interface.inputs[0].name: lesson.rows[:256]}
    if len(interface.inputs) != 1 or interface.inputs[0].element_type != "FP32":
        raise Failed("a student has one FP32 input", where="--distill")
    if converted.original is not None:
        Comparison(converted, runner, tolerances(interface, quantized=False)).on(rows)
    found = runner.run(rows)[interface.outputs[0].name]
    if found.reshape(len(found), -1).shape[1] != lesson.targets.shape[1]:
        raise Failed(
            f"it answers {list(found.shape[1:])} numbers per row, {lesson.targets.shape[1]} are to be learnt",
            where="--distill",
        )


def _in_place(student: onnx.ModelProto, teacher: Teacher, lesson: Lesson, parent: onnx.ModelProto) -> onnx.ModelProto:
    """The student's graph between the parent's inputs and outputs."""
    model = onnx.compose.add_prefix(student, OF_STUDENT)
    graph, last = model.graph, model.graph.output[0].name
    scale, width, columns, scaled, classes, winner = (
        ADDED + name for name in ("scale", "width", "columns", "scaled", "classes", "winner")
    )
    arrays: Mapping[str, Array] = {
        scale: np.array(lesson.scale, np.float32),
        width: np.array([-1, lesson.targets.shape[1]]),
    }
    scores = teacher.scores.name
    nodes = [
        helper.make_node("Reshape", [last, width], [columns]),
        helper.make_node("Mul", [columns, scale], [scaled]),
        helper.make_node(lesson.turned_back, [scaled], [scores]),
    ]
    if teacher.label is not None and lesson.classes is not None:
        texts = lesson.classes.dtype.kind in "OUS"
        arrays = {**arrays, classes: lesson.classes.astype(object if texts else np.int64)}
        nodes += [
            helper.make_node("ArgMax", [scores], [winner], axis=1, keepdims=len(teacher.label.shape) - 1),
            helper.make_node("Gather", [classes, winner], [teacher.label.name]),
        ]
    graph.node.insert(0, helper.make_node("Identity", [teacher.input.name], [graph.input[0].name]))
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    for mine, theirs in ((graph.input, parent.graph.input), (graph.output, parent.graph.output)):
        del mine[:]
        mine.extend(value for value in theirs if value.name not in {tensor.name for tensor in parent.graph.initializer})
    return model
