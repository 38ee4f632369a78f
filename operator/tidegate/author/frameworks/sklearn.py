"""From a fitted scikit-learn estimator to ONNX: conversion with the cures that skl2onnx needs, and its own answers.

Each cure answers something that was seen to go wrong: see the table.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import onnx

from tidegate.author.columns import example_rows
from tidegate.author.extras import need
from tidegate.author.frameworks import NEWEST_OPSET, ConversionFailed, Converted, Found, trees
from tidegate.author.frameworks.fitted import FittedEstimator, answering, has_classes
from tidegate.author.frameworks.forms import NUMBERS, Form, form_of
from tidegate.author.graph import BATCH, renumber, tidy
from tidegate.author.request import PackRequest
from tidegate.errors import Invalid

TARGET = {"": NEWEST_OPSET, "ai.onnx.ml": 3}
PACKAGES = ("scikit-learn", "skl2onnx", "joblib", "scipy")

# Options by class name, wherever the class sits in the pipeline.
CURES: Mapping[str, Mapping[str, Any]] = {
    "StandardScaler": {"div": "div"},  # multiplying by the inverse moved 11 of 5,000 rows across a tree's threshold
    "RobustScaler": {"div": "div"},
    "MaxAbsScaler": {"div": "div"},
    "TfidfVectorizer": {"locale": "C"},  # en_US.UTF-8 is missing on most servers, and the session then fails
    "CountVectorizer": {"locale": "C"},
}


def convert(found: Found, request: PackRequest) -> Converted:
    """A fitted estimator or pipeline as ONNX, and itself for comparison."""
    need("skl2onnx", extra="sklearn")
    _require_fitted(found.value)
    return convert_fitted(found.value, found.example, request)


def convert_fitted(estimator: Any, example: Any, request: PackRequest) -> Converted:
    """The same for what is known to be fitted; `example` are rows of its data as a factory gives them."""
    rows = request.data or example_rows(example)
    form = form_of(estimator, rows)
    inner = tuple(steps(estimator))
    boosted = trees.libraries(inner)
    for library in boosted:
        trees.register(library)
    with warnings.catch_warnings(), trees.numbered_features(inner):
        warnings.simplefilter("ignore")
        model = _converted(estimator, form, request.name)
    tidy(model)
    renumber(model)
    _restore_outputs(model, estimator)
    framework = ", ".join([trees.NAMES[library] for library in boosted]) or "scikit-learn"
    form = replace(form, single=bool(boosted))  # in 64 bits a scaler would round otherwise just before the trees
    data = form.tensors(rows) if rows else None
    original, cures = answering(FittedEstimator(estimator, form, framework), model, data, request.golden.seed)
    packages = (*PACKAGES, *boosted, *(("onnxmltools",) if boosted else ()))
    return Converted(model, original, data=data, packages=packages, cures=cures)


def is_estimator(found: object) -> bool:
    """Whether this is something that scikit-learn can predict with."""
    return hasattr(found, "predict") and hasattr(found, "get_params")


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
    except ConversionFailed:  # of our own converters, which know what to do
        raise
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
    inner += getattr(estimator, "named_estimators_", {}).values()
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
    if has_classes(estimator) or targets == 1 or len(model.graph.output) != 1:
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
