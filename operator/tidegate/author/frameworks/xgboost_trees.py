"""XGBoost's trees in the only form that the public converter reads right: one number per leaf, and every tree counts.

It knows nothing of `dart`, takes the first leaves only of trees that answer several targets at once, and counts trees
where an early stop counted iterations.  So the booster's own JSON is rewritten, and XGBoost reads it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx

from tidegate.author.frameworks import ConversionFailed
from tidegate.author.frameworks.fitted import has_classes
from tidegate.author.session import Array

LEAF = -1
SQUASHED = ("reg:logistic", "binary:logistic")  # objectives of which the converter gives the sum, for a regressor


def convert(scope: Any, operator: Any, container: Any) -> None:
    """The estimator of `operator` as nodes in `container`."""
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

    estimator, before = operator.raw_operator, len(container.nodes)
    require_form(estimator)
    plain, sums = plain_trees(estimator)
    inputs, outputs = operator.input_full_names, operator.output_full_names
    is_squashed = estimator.objective in SQUASHED and not has_classes(estimator)
    answers = [scope.get_unique_variable_name("sum")] if is_squashed else outputs
    asked = {"inputs": operator.inputs, "input_full_names": inputs, "output_full_names": answers}
    convert_xgboost(scope, SimpleNamespace(raw_operator=plain, **asked), container)
    _add_up(sums, container.nodes[before:])
    if is_squashed:
        _as_sum(container.nodes[-1])
        container.add_node("Sigmoid", answers, outputs, name=scope.get_unique_operator_name("Sigmoid"))


def require_form(estimator: Any) -> None:
    """Raises ConversionFailed for rows of several labels, and for missing values that are not NaN."""
    config = json.loads(estimator.get_booster().save_config())
    where = type(estimator).__name__
    if has_classes(estimator) and int(config["learner"]["learner_model_param"]["num_target"]) > 1:
        raise ConversionFailed(
            "it gives several labels for a row, and the ONNX form has one class per row",
            where=where,
            do="train a classifier for each label and pack each, or one whose classes are the combinations of labels",
        )
    if not np.isnan(estimator.missing):
        raise ConversionFailed(
            f"its missing values are {estimator.missing}, and only NaN can be told apart in ONNX",
            where=where,
            do="write NaN for what is missing, in the rows for the training and in requests, and leave `missing` out",
        )


def plain_trees(estimator: Any) -> tuple[Any, Sequence[int]]:
    """An estimator of plain trees that answers the same, and which sum each tree adds to: a target or a class."""
    from sklearn.base import clone

    document = json.loads(estimator.get_booster().save_raw("json"))
    learner = document["learner"]
    for rewrite in (_without_drops, _up_to_best, _one_number_per_leaf, _with_probabilities):
        rewrite(learner)
    # The converter tells the number of classes from `n_estimators`, which further training does not count up: without
    # it, it counts the trees.
    plain = clone(estimator).set_params(booster="gbtree", n_estimators=None)
    plain.load_model(bytearray(json.dumps(document), "utf-8"))
    return plain, learner["gradient_booster"]["model"]["tree_info"]


def _with_probabilities(learner: Any) -> None:
    """The same trees with the objective of which the converter gives more than the best class."""
    if learner["objective"]["name"] == "multi:softmax":
        learner["objective"]["name"] = "multi:softprob"


def _without_drops(learner: Any) -> None:
    """The leaves of `dart` by the weight that its tree was left with."""
    booster = learner["gradient_booster"]
    if booster["name"] == "dart":  # as 3.2 writes it; 3.4 writes a `gbtree` with weights
        booster["gbtree"]["model"]["weight_drop"] = booster["weight_drop"]
        booster = learner["gradient_booster"] = booster["gbtree"]
    weights = booster["model"].pop("weight_drop", None)
    if weights is None:
        return
    for tree, weight in zip(booster["model"]["trees"], weights, strict=True):
        for node in _leaves(tree):
            tree["split_conditions"][node] = float(np.float32(tree["split_conditions"][node]) * np.float32(weight))


def _up_to_best(learner: Any) -> None:
    """Without the trees after the best iteration, which an estimator does not ask."""
    best = learner["attributes"].pop("best_iteration", None)
    if best is None:
        return
    model = learner["gradient_booster"]["model"]
    starts = model["iteration_indptr"][: int(best) + 2]
    model["iteration_indptr"] = starts
    model["trees"], model["tree_info"] = model["trees"][: starts[-1]], model["tree_info"][: starts[-1]]
    model["gbtree_model_param"]["num_trees"] = str(starts[-1])


def _one_number_per_leaf(learner: Any) -> None:
    """Trees with a number for each target in their leaves, as one tree per target."""
    model = learner["gradient_booster"]["model"]
    targets = max((int(tree["tree_param"]["size_leaf_vector"]) for tree in model["trees"]), default=1)
    if targets <= 1:
        return
    apart = [single for tree in model["trees"] for single in _apart(tree, targets)]
    model["trees"] = [{**tree, "id": number} for number, tree in enumerate(apart)]
    model["tree_info"] = [*range(targets)] * (len(apart) // targets)
    model["iteration_indptr"] = [targets * start for start in model["iteration_indptr"]]
    model["gbtree_model_param"]["num_trees"] = str(len(apart))


def _apart(tree: Any, targets: int) -> Iterator[Any]:
    leaves, numbers = _leaves(tree), _numbers(tree, targets)
    ends = set(leaves)
    nodes = len(tree["left_children"])
    right = [LEAF if node in ends else child for node, child in enumerate(tree["right_children"])]
    unknown = {"loss_changes": [0.0] * nodes, "sum_hessian": [0.0] * nodes}
    for target in range(targets):
        conditions = list(tree["split_conditions"])
        for node, number in zip(leaves, numbers[:, target].tolist(), strict=True):
            conditions[node] = number
        param = {**tree["tree_param"], "size_leaf_vector": "1"}
        one = {"tree_param": param, "right_children": right, "split_conditions": conditions}
        yield {**unknown, **tree, **one, "base_weights": [0.0] * nodes}


def _numbers(tree: Any, targets: int) -> Array:
    """A row per leaf, in the order of `_leaves`."""
    leaves = _leaves(tree)
    if "leaf_weights" in tree:  # 3.2 and 3.4: the right child of a leaf says which row is its own
        rows = [tree["right_children"][node] for node in leaves]
        return np.asarray(tree["leaf_weights"], np.float32).reshape(-1, targets)[rows]
    return np.asarray(tree["base_weights"], np.float32).reshape(-1, targets)[leaves]


def _leaves(tree: Any) -> list[int]:
    return [node for node, child in enumerate(tree["left_children"]) if child == LEAF]


def _add_up(sums: Sequence[int], nodes: Sequence[onnx.NodeProto]) -> None:
    """Let each tree add to its own sum; the converter takes the first target, or counts round all classes."""
    for node in nodes:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        for kind in ("target", "class"):
            if f"{kind}_ids" in attributes:
                trees = attributes[f"{kind}_treeids"].ints
                attributes[f"{kind}_ids"].ints[:] = [sums[tree] for tree in trees]


def _as_sum(node: onnx.NodeProto) -> None:
    """The base score is a probability: let the sum begin at its logit."""
    (base,) = (attribute.floats for attribute in node.attribute if attribute.name == "base_values")
    base[:] = [float(np.log(score / (1 - score))) for score in base]
