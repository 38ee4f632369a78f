"""XGBoost's linear booster (`gblinear`) as ONNX, which the public converter does not know: a product, then a link.

The graph counts a missing value as XGBoost does: it adds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.author.frameworks import ConversionFailed
from tidegate.author.frameworks.fitted import has_classes
from tidegate.author.frameworks.xgboost_trees import require_form
from tidegate.author.session import Array

# What an objective makes of the sum: an operator, or nothing.
LINKS: Mapping[str, str] = {
    **dict.fromkeys(("reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror"), ""),
    **dict.fromkeys(("reg:quantileerror", "rank:pairwise", "rank:ndcg", "rank:map"), ""),
    **dict.fromkeys(("reg:logistic", "binary:logistic"), "Sigmoid"),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie"), "Exp"),
}
# The same for a classifier, as LinearClassifier names it.
CLASS_LINKS: Mapping[str, str] = {
    "binary:logistic": "LOGISTIC",
    "reg:logistic": "LOGISTIC",
    "multi:softmax": "SOFTMAX",
    "multi:softprob": "SOFTMAX",
}


@dataclass(frozen=True, slots=True)
class Sums:
    """What is added up, for each target or class: a row of weights, and what the sum begins with."""

    weights: Array
    starts: Array

    def attributes(self) -> dict[str, Any]:
        """As the linear operators of ONNX take them."""
        return {"coefficients": self.weights.reshape(-1).tolist(), "intercepts": self.starts.tolist()}

    def of_two_classes(self) -> Sums:
        """For the first class the opposite of what speaks for the second."""
        return Sums(np.concatenate([-self.weights, self.weights]), np.concatenate([-self.starts, self.starts]))


def is_linear(estimator: Any) -> bool:
    """Whether there are weights in it, no trees."""
    config = json.loads(estimator.get_booster().save_config())
    return bool(config["learner"]["gradient_booster"]["name"] == "gblinear")


def convert(scope: Any, operator: Any, container: Any) -> None:
    """The estimator of `operator` as nodes in `container`; raises ConversionFailed for what has no ONNX form."""
    estimator = operator.raw_operator
    require_form(estimator)
    link = _link(estimator)
    sums, present = _sums(estimator.get_booster()), _present(scope, operator, container)
    if has_classes(estimator):
        classes = {"classlabels_ints": [int(label) for label in estimator.classes_], "post_transform": link}
        sums = sums.of_two_classes() if len(sums.starts) == 1 else sums
        _add(container, "LinearClassifier", present, operator.output_full_names, {**sums.attributes(), **classes})
        return
    added = [scope.get_unique_variable_name("sums")] if link else operator.output_full_names
    _add(container, "LinearRegressor", present, added, {**sums.attributes(), "targets": len(sums.starts)})
    if link:
        container.add_node(link, added, operator.output_full_names, name=scope.get_unique_operator_name(link))


def _link(estimator: Any) -> str:
    known = CLASS_LINKS if has_classes(estimator) else LINKS
    if estimator.objective not in known:
        raise ConversionFailed(
            f"a gblinear booster with the objective {estimator.objective!r} has no ONNX form",
            where=type(estimator).__name__,
            do=f"train it with one of {', '.join(known)}",
        )
    return known[estimator.objective]


def _sums(booster: Any) -> Sums:
    import xgboost

    # Its answer where every value is missing is the bias and the base score, which the objective has made a sum of.
    nothing = xgboost.DMatrix(np.full((1, booster.num_features()), np.nan, np.float32))
    starts = booster.predict(nothing, output_margin=True).reshape(-1)
    model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]
    weights = np.asarray(model["weights"], np.float32).reshape(-1, len(starts))  # a row per column, then the bias
    return Sums(weights[:-1].T, starts)


def _present(scope: Any, operator: Any, container: Any) -> str:
    """The input with zeros for what is missing."""
    from onnx import TensorProto

    (given,) = operator.input_full_names
    missing, zero, present = (str(scope.get_unique_variable_name(name)) for name in ("missing", "zero", "present"))
    container.add_initializer(zero, TensorProto.FLOAT, [], [0.0])
    container.add_node("IsNaN", [given], [missing], name=scope.get_unique_operator_name("IsNaN"))
    container.add_node("Where", [missing, zero, given], [present], name=scope.get_unique_operator_name("Where"))
    return present


def _add(container: Any, operation: str, given: str, outputs: list[str], attributes: Mapping[str, Any]) -> None:
    container.add_node(operation, [given], outputs, op_domain="ai.onnx.ml", **attributes)
