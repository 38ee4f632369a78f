"""What a fitted estimator itself answers, by the names of the outputs of its ONNX form.

The first output is its prediction.  What further ones hold no converter tells: the probabilities of a classifier that
has them, else whatever of the estimator agrees; what agrees with nothing is no output.
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tidegate.author.derive.cutting import cut
from tidegate.author.describe import interface_of
from tidegate.author.frameworks import Converted
from tidegate.author.frameworks.forms import Form
from tidegate.author.golden import tolerances
from tidegate.author.graph import real_inputs
from tidegate.author.parity import ROWS, Comparison
from tidegate.author.pool import PoolMaker, hints_from_graph
from tidegate.author.session import Array, Runner, Tensors, open_runner
from tidegate.bundle.manifest import TensorSpec
from tidegate.errors import Failed

PREDICTION, PROBABILITIES = "predict", "predict_proba"
SCORES = (PROBABILITIES, "decision_function", "transform", "score_samples")
TWO_CLASSES = (2,)


@dataclass(frozen=True, slots=True)
class FittedEstimator:
    """The estimator, and which of its methods answers which output."""

    estimator: Any
    form: Form
    framework: str
    methods: tuple[tuple[TensorSpec, str], ...] = ()

    def answers(self, inputs: Tensors) -> dict[str, Array]:
        """Classes as ONNX knows them, scores in the shape of their output."""
        rows = self.form.rows_for(inputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "X does not have valid feature names": the order is the same
            return {output.name: _in_shape(self._answer(method, rows), output) for output, method in self.methods}

    def _answer(self, method: str, rows: Any) -> Array:
        """Classes as ONNX knows them: whole numbers or texts."""
        answer = np.asarray(getattr(self.estimator, method)(rows))
        if method != PREDICTION:
            return answer
        is_class = has_classes(self.estimator) or answer.dtype.kind == "b"
        return answer.astype(np.int64) if is_class and answer.dtype.kind in "bf" else answer


def _in_shape(answer: Array, output: TensorSpec) -> Array:
    """One number per row as a column, as a list, or as a score for each of two classes: libraries differ there."""
    rank = len(output.shape)
    if answer.ndim == 1 and output.shape[1:] == TWO_CLASSES:
        return np.stack([-answer, answer], axis=1)
    return answer.reshape((-1, 1)[:rank]) if answer.size == len(answer) and rank in (1, 2) else answer


def has_classes(estimator: Any) -> bool:
    """Whether it tells classes apart; CatBoost's regressors have an empty list of them."""
    return len(getattr(estimator, "classes_", ())) > 0


def answering(
    fitted: FittedEstimator, model: onnx.ModelProto, rows: Tensors | None, seed: int
) -> tuple[FittedEstimator, tuple[str, ...]]:
    """The estimator with a method for every output; outputs that have none are taken out of `model`.

    Says which those were, a sentence each.
    """
    prediction, *further = interface_of(model).outputs
    methods = [(prediction, PREDICTION)]
    if further and has_classes(fitted.estimator) and hasattr(fitted.estimator, PROBABILITIES):
        methods.append((further.pop(0), PROBABILITIES))  # must agree
    if not further:
        return replace(fitted, methods=tuple(methods)), ()
    found = _found(fitted, further, model, rows, seed)
    methods += [(output, method) for output, method in found if method]
    left_out = [output.name for output, method in found if not method]
    if left_out:
        _take_out(model, left_out)
    return replace(fitted, methods=tuple(methods)), tuple(
        f"the output '{name}' was left out: nothing that {type(fitted.estimator).__name__} gives agrees with it"
        for name in left_out
    )


def _found(
    fitted: FittedEstimator, outputs: Sequence[TensorSpec], model: onnx.ModelProto, rows: Tensors | None, seed: int
) -> list[tuple[TensorSpec, str]]:
    """Each output with the method that agrees with it, or ""; compared as `pack` does at the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        runner = open_runner(path, interface_of(model))
    asked = rows or PoolMaker(runner.interface, hints_from_graph(model), seed).running(runner, ROWS)
    return [(output, _agreeing(fitted, output, Converted(model, None), runner, asked)) for output in outputs]


def _agreeing(fitted: FittedEstimator, output: TensorSpec, converted: Converted, runner: Runner, rows: Tensors) -> str:
    rules = tolerances(runner.interface, quantized=False)
    for method in SCORES:
        if hasattr(fitted.estimator, method):
            original = replace(fitted, methods=((output, method),))
            with contextlib.suppress(Failed):
                Comparison(replace(converted, original=original), runner, rules).on(rows)
                return method
    return ""


def _take_out(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """With the nodes and weights that only these outputs needed."""
    kept = [output for output in model.graph.output if output.name not in names]
    model.graph.CopyFrom(cut(model, real_inputs(model.graph), kept, where="the estimator").graph)
