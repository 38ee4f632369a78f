"""From a fitted scikit-learn estimator to ONNX: conversion with the cures that skl2onnx needs, and its own answers.

Each cure answers something that was seen to go wrong: see the table.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from tidegate.author.extras import need
from tidegate.author.forms import NUMBERS, Form, form_of
from tidegate.author.graph import BATCH, renumber, tidy
from tidegate.author.request import DataSet
from tidegate.author.session import Array, Tensors
from tidegate.errors import Failed, Invalid

TARGET = {"": 21, "ai.onnx.ml": 3}  # what ONNX Runtime 1.20 and later run
PACKAGES = ("scikit-learn", "skl2onnx", "joblib", "scipy")

# Options by class name, wherever the class sits in the pipeline.
CURES: Mapping[str, Mapping[str, Any]] = {
    "StandardScaler": {"div": "div"},  # multiplying by the inverse moved 11 of 5,000 rows across a tree's threshold
    "TfidfVectorizer": {"locale": "C"},  # en_US.UTF-8 is missing on most servers, and the session then fails
    "CountVectorizer": {"locale": "C"},
}


class ConversionFailed(Failed):
    """skl2onnx does not know this estimator, or refuses these settings of it."""

    reason = "ConversionFailed"


@dataclass(frozen=True, slots=True)
class Original:
    """The estimator itself, to be compared with."""

    estimator: Any
    form: Form

    def answers(self, tensors: Tensors) -> tuple[Array, Array | None]:
        """Its predictions, and its scores per class where it has them."""
        rows = self.form.rows_for(tensors)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "X does not have valid feature names": the order is the same
            predicted = np.asarray(self.estimator.predict(rows))
            return predicted, self._scores(rows)

    def _scores(self, rows: Any) -> Array | None:
        if not hasattr(self.estimator, "classes_"):
            return None
        if hasattr(self.estimator, "predict_proba"):
            return np.asarray(self.estimator.predict_proba(rows))
        return None


def is_estimator(found: object) -> bool:
    """Whether this is something that scikit-learn can predict with."""
    return hasattr(found, "predict") and hasattr(found, "get_params")


def convert(estimator: Any, example: DataSet | None, name: str) -> tuple[onnx.ModelProto, Original]:
    """The estimator as an ONNX model, and itself for comparison."""
    need("skl2onnx", extra="sklearn")
    _require_fitted(estimator)
    form = form_of(estimator, example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = _converted(estimator, form, name)
    tidy(model)
    renumber(model)
    _restore_outputs(model, estimator)
    return model, Original(estimator, form)


def _require_fitted(estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not is_estimator(estimator):
        raise Invalid(
            f"this is a {type(estimator).__name__}, not a scikit-learn estimator",
            where="the source",
            do="give a fitted estimator or pipeline whose last step predicts",
        )
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise Invalid(
            f"this {type(estimator).__name__} is not fitted yet", where="the estimator", do="call fit() first"
        ) from None


def _converted(estimator: Any, form: Form, name: str) -> onnx.ModelProto:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    types = [
        (key, (FloatTensorType if kind == NUMBERS else StringTensorType)([None, form.widths[key]]))
        for key, kind in form.kinds.items()
    ]
    options = {id(step): dict(CURES[type(step).__name__]) for step in steps(estimator) if type(step).__name__ in CURES}
    plain = {**options, id(estimator): {"zipmap": False}}  # a tensor of probabilities, not a list of dictionaries
    try:
        try:
            model = convert_sklearn(estimator, name, types, options=plain, target_opset=TARGET)
        except NameError:  # "Option 'zipmap' not in …": what has no probabilities has no such option either
            model = convert_sklearn(estimator, name, types, options=options, target_opset=TARGET)
    except Exception as error:  # noqa: BLE001 - converters raise whatever they like
        raise ConversionFailed(
            f"skl2onnx cannot convert it: {' '.join(str(error).split())[:300]}",
            where=type(estimator).__name__,
            do=_advice(estimator),
        ) from None
    assert isinstance(model, onnx.ModelProto)
    return model


def steps(estimator: Any) -> Iterator[Any]:
    """Every estimator inside this one: steps of pipelines, parts of column transformers and of ensembles."""
    yield estimator
    inner = [step for _, step in getattr(estimator, "steps", ())]
    inner += [part[1] for part in getattr(estimator, "transformers_", ())]
    inner += [part for _, part in getattr(estimator, "transformer_list", ())]
    for part in inner:
        if hasattr(part, "get_params"):
            yield from steps(part)


def _advice(estimator: Any) -> str:
    names = {type(step).__name__ for step in steps(estimator)}
    if "VotingClassifier" in names:
        return "build it with VotingClassifier(flatten_transform=False)"
    if "FunctionTransformer" in names:
        return "move the function out of the pipeline: Python code has no ONNX form"
    return "replace the step it names, or export the model to ONNX yourself and pack the .onnx file"


def _restore_outputs(model: onnx.ModelProto, estimator: Any) -> None:
    """A regressor of several targets comes out flattened into one column: give the columns back."""
    targets = int(getattr(_last(estimator), "n_outputs_", 1) or 1)
    if hasattr(estimator, "classes_") or targets == 1 or len(model.graph.output) != 1:
        return
    output = model.graph.output[0]
    dims = output.type.tensor_type.shape.dim
    if [dim.dim_value for dim in dims][1:] == [targets]:
        return
    flat = f"{output.name}_flat"
    for node in model.graph.node:
        node.output[:] = [flat if name == output.name else name for name in node.output]
    shape = onnx.helper.make_tensor("target_shape", onnx.TensorProto.INT64, [2], [-1, targets])
    model.graph.initializer.append(shape)
    model.graph.node.append(onnx.helper.make_node("Reshape", [flat, "target_shape"], [output.name]))
    new = onnx.helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, [BATCH, targets])
    output.CopyFrom(new)


def _last(estimator: Any) -> Any:
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator
