"""LightGBM's trees by the public converter; of a random forest it needs the mean, where it would divide by 100."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import onnx

WEIGHTS = ("class_weights", "target_weights")


def convert(scope: Any, operator: Any, container: Any) -> None:
    """The estimator of `operator` as nodes in `container`."""
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

    estimator, before = operator.raw_operator, len(container.nodes)
    booster = estimator.booster_
    classes = getattr(estimator, "classes_", ())
    operator.raw_operator = SimpleNamespace(booster_=booster, classes_=classes, boosting_type="gbdt")  # a sum
    convert_lightgbm(scope, operator, container)
    operator.raw_operator = estimator
    about = booster.dump_model(num_iteration=1)
    if about.get("average_output"):
        _average(container.nodes[before:], about["num_tree_per_iteration"])


def _average(nodes: Sequence[onnx.NodeProto], trees_per_iteration: int) -> None:
    """Let the sum of all trees be their mean, per class."""
    attributes = {attribute.name: attribute for node in nodes for attribute in node.attribute}
    iterations = len(set(attributes["nodes_treeids"].ints)) // trees_per_iteration
    for name in WEIGHTS:
        if name in attributes:
            floats = attributes[name].floats
            floats[:] = [weight / iterations for weight in floats]
