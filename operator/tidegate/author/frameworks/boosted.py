"""Boosted trees in the files of their own libraries: XGBoost (JSON, UBJSON), LightGBM (text), CatBoost (.cbm).

A file becomes an estimator, which is converted as one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidegate.author.columns import example_rows, in_order
from tidegate.author.extras import need
from tidegate.author.frameworks import ConversionFailed, Converted, Found, sklearn
from tidegate.author.frameworks.lightgbm_file import estimator_of
from tidegate.author.request import PackRequest
from tidegate.errors import Invalid


def convert(found: Found, request: PackRequest) -> Converted:
    """The trees in a file, or in a booster in memory, as ONNX."""
    need(found.kind, extra=found.kind)
    estimator, names = _LOADERS[found.kind](found)
    rows = request.data or example_rows(found.example)
    return sklearn.convert_fitted(estimator, None, replace(request, data=in_order(rows, names) if rows else None))


def _told(names: Sequence[str] | None) -> Sequence[str]:
    """The names that columns were given; what a library counts up for want of any is none."""
    found = names or ()
    counted = all(name.removeprefix("Column_") == str(number) for number, name in enumerate(found))
    return () if counted else found


def _lightgbm(found: Found) -> tuple[Any, Sequence[str]]:
    import lightgbm

    booster = found.value or _read(found, lambda path: lightgbm.Booster(model_file=_survivable(path)))
    return estimator_of(booster), _told(booster.feature_name())


def _survivable(path: str) -> str:
    """LightGBM ends the process that reads a damaged file, so another one reads it first.

    -P: Python would import from the current folder first, where the model's own files may lie.
    """
    code = "import lightgbm, sys; lightgbm.Booster(model_file=sys.argv[1])"
    done = subprocess.run([sys.executable, "-P", "-c", code, path], capture_output=True, errors="replace", check=False)
    if done.returncode:
        fatal = [line.partition("[Fatal]")[2] for line in (done.stdout + done.stderr).splitlines() if "[Fatal]" in line]
        raise ValueError(fatal[0] if fatal else "it ends the process that reads it")
    return path


def _xgboost(found: Found) -> tuple[Any, Sequence[str]]:
    """The estimator that the objective asks for: files of plain boosters do not say what they were."""
    import xgboost

    booster = found.value or _read(found, lambda path: xgboost.Booster(model_file=path))
    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    is_classifier = objective.startswith(("binary:", "multi:"))
    estimator = xgboost.XGBClassifier() if is_classifier else xgboost.XGBRegressor()
    estimator.load_model(booster.save_raw())
    if booster.attr("scikit_learn") is None:  # a plain booster asks all its trees, an estimator none after the best
        estimator.get_booster().set_attr(best_iteration=None, best_score=None)
    estimator.get_booster().feature_names = None  # ONNX has one matrix: columns are known by their number
    return estimator, _told(booster.feature_names)


def _catboost(found: Found) -> tuple[Any, Sequence[str]]:
    import catboost

    model = found.value or _read(found, lambda path: catboost.CatBoost().load_model(path))
    if model.get_cat_feature_indices() or model.get_text_feature_indices():
        raise ConversionFailed(
            "CatBoost cannot export categorical or text features to ONNX",
            where=str(found.path or "the model"),
            do="encode them before: a pipeline of OneHotEncoder or OrdinalEncoder and the model packs as a whole",
        )
    wanted = catboost.CatBoostClassifier if len(model.classes_) else catboost.CatBoostRegressor
    estimator = model if isinstance(model, wanted) else wanted()
    if estimator is not model:
        estimator.load_model(blob=model._serialize_model())
    return estimator, _told(model.feature_names_)


def _read(found: Found, load: Any) -> Any:
    """What `load` makes of the file; its library's own error in one sentence."""
    assert isinstance(found.path, Path)
    try:
        return load(str(found.path))
    except Exception as error:  # noqa: BLE001 - each library has errors of its own
        raise Invalid(
            f"{found.kind} cannot read it: {' '.join(str(error).split())[:200]}",
            where=str(found.path),
            do="it is cut off or damaged: copy it again",
        ) from None


_LOADERS = {"xgboost": _xgboost, "lightgbm": _lightgbm, "catboost": _catboost}
