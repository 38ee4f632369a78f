"""LightGBM's trees by the public converter; of a random forest it needs the mean, where it would divide by 100."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import onnx

from tidegate.author.frameworks import ConversionFailed

WEIGHTS = ("class_weights", "target_weights")
ZERO = 1  # what LightGBM takes for missing, in the third and fourth bit of a node's `decision_type`; 2 is NaN


def convert(scope: Any, operator: Any, container: Any) -> None:
    """The estimator of `operator` as nodes in `container`."""
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

    estimator, before = operator.raw_operator, len(container.nodes)
    booster = estimator.booster_
    require_zeros_count(booster.model_to_string(), type(estimator).__name__)
    classes = getattr(estimator, "classes_", ())
    operator.raw_operator = SimpleNamespace(booster_=booster, classes_=classes, boosting_type="gbdt")  # a sum
    convert_lightgbm(scope, operator, container)
    operator.raw_operator = estimator
    about = booster.dump_model(num_iteration=1)
    if about.get("average_output"):
        _average(container.nodes[before:], about["num_tree_per_iteration"])


def require_zeros_count(model: str, where: str) -> None:
    """Raises ConversionFailed where zeros in rows stand for what is missing, which the converter knows nothing of."""
    lines = [line for line in model.splitlines() if line.startswith("decision_type=")]
    kinds = [int(kind) for line in lines for kind in line.partition("=")[2].split()]
    if any(kind >> 2 & 3 == ZERO for kind in kinds):
        raise ConversionFailed(
            "it was trained with zero_as_missing, and only NaN can be told apart in ONNX",
            where=where,
            do="write NaN for what is missing, in the rows for the training and in requests, and leave "
            "zero_as_missing out",
        )


def _average(nodes: Sequence[onnx.NodeProto], trees_per_iteration: int) -> None:
    """Let the sum of all trees be their mean, per class."""
    attributes = {attribute.name: attribute for node in nodes for attribute in node.attribute}
    iterations = len(set(attributes["nodes_treeids"].ints)) // trees_per_iteration
    for name in WEIGHTS:
        if name in attributes:
            floats = attributes[name].floats
            floats[:] = [weight / iterations for weight in floats]
