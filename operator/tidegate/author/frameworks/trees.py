"""Boosted trees inside scikit-learn pipelines: skl2onnx learns here what it does not know of other libraries.

An XGBoost, LightGBM or CatBoost estimator is a step like any other once its converter is registered.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from tidegate.author.extras import need
from tidegate.author.frameworks import catboost_trees, lightgbm_trees, xgboost_linear, xgboost_trees
from tidegate.author.frameworks.lightgbm_file import LightGbmClassifier, LightGbmRegressor

NAMES = {"xgboost": "XGBoost", "lightgbm": "LightGBM", "catboost": "CatBoost"}  # also the names of our extras


def libraries(steps: Iterable[Any]) -> tuple[str, ...]:
    """Which of the three libraries these estimators come from."""
    classes = [class_ for step in steps for class_ in type(getattr(step, "booster_", step)).__mro__]
    roots = {class_.__module__.partition(".")[0] for class_ in classes}
    return tuple(name for name in NAMES if name in roots)


def register(library: str) -> None:
    """Tell skl2onnx how to convert the estimators of `library`."""
    _REGISTER[library]()


@contextlib.contextmanager
def numbered_features(steps: Iterable[Any]) -> Iterator[None]:
    """XGBoost's converter knows features by number only: hide the names of columns meanwhile."""
    boosters = [step.get_booster() for step in steps if libraries([step]) == ("xgboost",)]
    names = [booster.feature_names for booster in boosters]
    for booster in boosters:
        booster.feature_names = None
    try:
        yield
    finally:
        for booster, kept in zip(boosters, names, strict=True):
            booster.feature_names = kept


def _register_xgboost() -> None:
    need("onnxmltools", extra="xgboost")
    from xgboost import XGBClassifier, XGBRanker, XGBRegressor, XGBRFClassifier, XGBRFRegressor

    _register((XGBClassifier, XGBRFClassifier), _convert_xgboost, classes=True)
    _register((XGBRegressor, XGBRFRegressor, XGBRanker), _convert_xgboost, shapes=_column_per_target)


def _convert_xgboost(scope: Any, operator: Any, container: Any) -> None:
    kind = xgboost_linear if xgboost_linear.is_linear(operator.raw_operator) else xgboost_trees
    kind.convert(scope, operator, container)


def _column_per_target(operator: Any) -> None:
    config = json.loads(operator.raw_operator.get_booster().save_config())
    targets = int(config["learner"]["learner_model_param"]["num_target"])
    operator.outputs[0].type.shape = [operator.inputs[0].get_first_dimension(), targets]


def _register_lightgbm() -> None:
    need("onnxmltools", extra="lightgbm")
    from lightgbm import LGBMClassifier, LGBMRanker, LGBMRegressor

    _register((LGBMClassifier, LightGbmClassifier), lightgbm_trees.convert, classes=True)
    _register((LGBMRegressor, LGBMRanker, LightGbmRegressor), lightgbm_trees.convert)


def _register_catboost() -> None:
    from catboost import CatBoostClassifier, CatBoostRegressor

    _register((CatBoostClassifier,), catboost_trees.convert, classes=True)
    _register((CatBoostRegressor,), catboost_trees.convert)


def _register(kinds: tuple[type, ...], converter: Any, *, classes: bool = False, shapes: Any = None) -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator

    usual = shape_calculator.calculate_linear_regressor_output_shapes
    if classes:
        usual = shape_calculator.calculate_linear_classifier_output_shapes
    options = {"nocl": [True, False], "zipmap": [True, False, "columns"]} if classes else {"split": None}
    for kind in kinds:
        update_registered_converter(
            kind,
            f"{kind.__module__.partition('.')[0]}{kind.__name__}",
            shapes or usual,
            converter,
            parser=_parse_classifier if classes else _parse_regressor,
            options=options,
        )


def _parse_classifier(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:  # noqa: ARG001 - as skl2onnx calls it
    """A label and a tensor of probabilities, whatever scikit-learn thinks that the model is."""
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

    outputs = (("label", Int64TensorType()), ("probabilities", FloatTensorType()))
    return _parsed(scope, model, inputs, outputs)


def _parse_regressor(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:  # noqa: ARG001 - as skl2onnx calls it
    from skl2onnx.common.data_types import FloatTensorType

    return _parsed(scope, model, inputs, (("variable", FloatTensorType()),))


def _parsed(scope: Any, model: Any, inputs: Any, outputs: Any) -> Any:
    from skl2onnx._supported_operators import _get_sklearn_operator_name

    operator = scope.declare_local_operator(_get_sklearn_operator_name(type(model)), model)
    operator.inputs = inputs
    for name, kind in outputs:
        operator.outputs.append(scope.declare_local_variable(name, kind))
    return operator.outputs


_REGISTER = {"xgboost": _register_xgboost, "lightgbm": _register_lightgbm, "catboost": _register_catboost}
