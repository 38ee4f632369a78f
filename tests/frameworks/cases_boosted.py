"""Boosted trees: files of XGBoost, LightGBM and CatBoost, their estimators, and pipelines that end with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tests.frameworks.case import Case
from tests.frameworks.cases_sklearn import rows

FRAMEWORK = "boosted"


def cases() -> list[Case]:
    return [
        *(Case(FRAMEWORK, "XGBoost .ubj", kind, _xgboost(kind, "model.ubj")) for kind in KINDS),
        *(Case(FRAMEWORK, "XGBoost .json", kind, _xgboost(kind, "model.json")) for kind in KINDS),
        *(
            Case(FRAMEWORK, f"XGBoost .ubj, {booster}", kind, _xgboost(kind, "model.ubj", booster=booster, **options))
            for booster, options in BOOSTERS.items()
            for kind in KINDS
        ),
        *(Case(FRAMEWORK, "LightGBM .txt", kind, _lightgbm(kind)) for kind in KINDS),
        *(Case(FRAMEWORK, "LightGBM .txt, a forest", kind, _lightgbm(kind, **FOREST)) for kind in KINDS),
        *(Case(FRAMEWORK, "CatBoost .cbm", kind, _catboost(kind)) for kind in (*KINDS, "true and false")),
        *(Case(FRAMEWORK, "module:factory", name, _script(body)) for name, body in SCRIPTS.items()),
        *(
            Case(FRAMEWORK, format_, "a bare booster, stopped early", make, golden="golden.npz")
            for format_, make in BARE.items()
        ),
        *faults(),
    ]


def faults() -> list[Case]:
    made = {"XGBoost .ubj": _xgboost("classes", "model.ubj"), "CatBoost .cbm": _catboost("classes")}
    made["LightGBM .txt"] = _lightgbm("classes")
    named = [
        Case(
            FRAMEWORK,
            name,
            "data of other columns",
            _beside_other_columns(make),
            data="rows.csv",
            refused="trained on the columns one, two, three: 'four' is none of them",
        )
        for name, make in NAMED.items()
    ]
    cut = [Case(FRAMEWORK, name, "cut off", _cut(make), refused="cut off or damaged") for name, make in made.items()]
    wrong = {
        "gblinear, classes by a hinge": (
            "return xgboost.XGBClassifier(booster='gblinear', objective='binary:hinge').fit(X, y > 0)",
            "a gblinear booster with the objective 'binary:hinge' has no ONNX form: train it with one of binary:logistic",
        ),
        "several labels for a row": (
            "return xgboost.XGBClassifier(n_estimators=3).fit(X, (X[:, :2] > 0).astype(int))",
            "it gives several labels for a row.*train a classifier for each label",
        ),
        "gblinear, -1 for missing values": (
            "return xgboost.XGBRegressor(booster='gblinear', missing=-1).fit(X, X[:, 0])",
            "missing values are -1, and only NaN can be told apart in ONNX: write NaN",
        ),
        "XGBoost, -1 for missing values": (
            "return xgboost.XGBClassifier(n_estimators=3, missing=-1).fit(X, y)",
            "missing values are -1, and only NaN can be told apart in ONNX: write NaN",
        ),
        "LightGBM, zero for missing values": (
            "return lightgbm.LGBMClassifier(zero_as_missing=True, verbose=-1).fit(np.where(X > 1, 0, X), y)",
            "trained with zero_as_missing, and only NaN can be told apart in ONNX: write NaN",
        ),
        "CatBoost's own categories": (
            "return catboost.CatBoostClassifier(iterations=3, verbose=0, allow_writing_files=False)"
            ".fit(np.array(['a', 'b', 'c'])[y].reshape(-1, 1), y, cat_features=[0])",
            "cannot export categorical",
        ),
    }
    rest = [
        Case(FRAMEWORK, "module:factory", name, _script(body), refused=told) for name, (body, told) in wrong.items()
    ]
    return cut + named + rest


HEAD = """
import catboost, lightgbm, xgboost
import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

r = np.random.default_rng(0)
X = r.standard_normal((3000, 6)).astype(np.float32)
y = (X[:, 0] * 2 + X[:, 1] > 0).astype(int) + (X[:, 2] > 0)

"""
SCRIPTS = {
    "scaled rows, XGBoost (11 of 5,000 rows moved)": (
        "return make_pipeline(StandardScaler(), xgboost.XGBClassifier(n_estimators=100)).fit(X, y), X"
    ),
    "scaled rows, LightGBM": (
        "return make_pipeline(StandardScaler(), lightgbm.LGBMRegressor(n_estimators=50, verbose=-1)).fit(X, X[:, 0])"
    ),
    "scaled rows, CatBoost": (
        "return make_pipeline(StandardScaler(), catboost.CatBoostClassifier(iterations=20, verbose=0, "
        "allow_writing_files=False)).fit(X, y)"
    ),
    "names as classes": "return lightgbm.LGBMClassifier(n_estimators=10, verbose=-1).fit(X, np.array(list('abc'))[y])",
    "a DataFrame": """
    import pandas as pd
    return xgboost.XGBClassifier(n_estimators=10).fit(pd.DataFrame(X, columns=list('abcdef')), y)""",
    "stopped early": """
    model = xgboost.XGBRegressor(n_estimators=200, early_stopping_rounds=2, learning_rate=1)
    return model.fit(X[:2000], X[:2000, 0], eval_set=[(X[2000:], X[2000:, 0])], verbose=False)""",
    "a bare booster": "return xgboost.train({'objective': 'count:poisson'}, xgboost.DMatrix(X, abs(X[:, 0])), 10)",
    "scaled rows, gblinear": (
        "return make_pipeline(StandardScaler(), xgboost.XGBRegressor(booster='gblinear')).fit(X, X[:, 0]), X"
    ),
    "gblinear, missing values": """
    gaps = np.where(r.random(X.shape) < 0.3, np.nan, X)
    return xgboost.XGBClassifier(booster='gblinear').fit(gaps, y), gaps""",
    "a bare booster, gblinear": """
    rows = xgboost.DMatrix(X, abs(X[:, 0]))
    return xgboost.train({'objective': 'count:poisson', 'booster': 'gblinear', 'eta': 0.1}, rows, 10)""",
    "dart, stopped early": """
    model = xgboost.XGBClassifier(booster='dart', rate_drop=0.3, n_estimators=100, early_stopping_rounds=2)
    return model.set_params(learning_rate=1).fit(X[:2000], y[:2000], eval_set=[(X[2000:], y[2000:])], verbose=False)""",
    "several targets": "return xgboost.XGBRegressor(n_estimators=20).fit(X, X[:, :3] ** 2)",
    "several targets, gblinear": "return xgboost.XGBRegressor(booster='gblinear').fit(X, X[:, :3] + X[:, 3:])",
    "several targets, dart": "return xgboost.XGBRegressor(booster='dart', rate_drop=0.5).fit(X, X[:, :3] ** 2)",
    "several targets, stopped early": """
    model = xgboost.XGBRegressor(n_estimators=200, early_stopping_rounds=2, learning_rate=1)
    return model.fit(X[:2000], X[:2000, :3] ** 2, eval_set=[(X[2000:], X[2000:, :3] ** 2)], verbose=False)""",
    "several targets per tree": """
    model = xgboost.XGBRegressor(n_estimators=20, multi_strategy='multi_output_tree')
    return model.fit(X, X[:, :5] ** 2)""",
    "an XGBoost forest": "return xgboost.XGBRFClassifier(n_estimators=20).fit(X, y)",
    "small forests, stopped early": """
    model = xgboost.XGBClassifier(n_estimators=50, num_parallel_tree=3, subsample=0.5, early_stopping_rounds=2)
    return model.set_params(learning_rate=1).fit(X[:2000], y[:2000] > 0, eval_set=[(X[2000:], y[2000:] > 0)], verbose=0)""",
    "probabilities from a regressor": (
        "return xgboost.XGBRegressor(n_estimators=20, objective='reg:logistic').fit(X, X[:, 0] > 1)"
    ),
    "a bare booster, multi:softmax": (
        "return xgboost.train({'objective': 'multi:softmax', 'num_class': 3}, xgboost.DMatrix(X, y), 10)"
    ),
    "XGBClassifier, multi:softmax": "return xgboost.XGBClassifier(n_estimators=10, objective='multi:softmax').fit(X, y)",
    "XGBClassifier, multi:softmax, gblinear": (
        "return xgboost.XGBClassifier(booster='gblinear', objective='multi:softmax').fit(X, y)"
    ),
    "yes or no, trained on": """
    first = xgboost.XGBClassifier(n_estimators=10).fit(X, y > 0)
    return xgboost.XGBClassifier(n_estimators=10).fit(X, y > 0, xgb_model=first)""",
    "missing values, dart": """
    gaps = np.where(r.random(X.shape) < 0.3, np.nan, X)
    return xgboost.XGBClassifier(n_estimators=20, booster='dart', rate_drop=0.3).fit(gaps, y), gaps""",
    "missing values, LightGBM": """
    gaps = np.where(r.random(X.shape) < 0.3, np.nan, X)
    return lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(gaps, y), gaps""",
    "missing values, CatBoost": """
    gaps = np.where(r.random(X.shape) < 0.3, np.nan, X)
    model = catboost.CatBoostClassifier(iterations=20, verbose=0, allow_writing_files=False)
    return model.fit(gaps, y), gaps""",
    "a LightGBM forest": (
        "return lightgbm.LGBMClassifier(boosting_type='rf', subsample_freq=1, subsample=0.5, n_estimators=30, "
        "verbose=-1).fit(X, X[:, 0] > 0)"
    ),
    "CatBoost, classes true and false": (
        "return catboost.CatBoostClassifier(iterations=3, verbose=0, allow_writing_files=False).fit(X, y > 0)"
    ),
    "ranks": "return lightgbm.LGBMRanker(n_estimators=5, verbose=-1).fit(X, X[:, 0] > 0, group=[50] * 60)",
}


def _script(body: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "train.py").write_text(f"{HEAD}def model():\n    {body}\n")
        return f"{folder}/train.py:model"

    return make


def _stopped(folder: Path) -> Any:
    """A booster with trees after its best, which `Booster.predict` asks as well; its answers as `golden.npz`."""
    import xgboost

    x, number = rows()[0], _targets("numbers")
    first, rest = xgboost.DMatrix(x[:200], number[:200]), xgboost.DMatrix(x[200:], number[200:])
    options = {"num_boost_round": 50, "early_stopping_rounds": 5, "verbose_eval": False}
    booster = xgboost.train({"eta": 1}, first, evals=[(rest, "rest")], **options)
    assert booster.num_boosted_rounds() > booster.best_iteration + 1
    np.savez(folder / "golden.npz", input=x[:8], variable=booster.predict(xgboost.DMatrix(x[:8]))[:, None])
    return booster


def _bare_file(folder: Path) -> str:
    _stopped(folder).save_model(folder / "model.ubj")
    return str(folder / "model.ubj")


def _bare_object(folder: Path) -> str:
    _stopped(folder).save_model(folder / "model.json")
    body = f"return xgboost.Booster(model_file={str(folder / 'model.json')!r})"
    return _script(body)(folder)


BARE = {"XGBoost .ubj": _bare_file, "module:factory": _bare_object}


def _targets(kind: str) -> Any:
    x, classes = rows()
    made = {"classes": classes, "yes or no": (classes > 0).astype(int), "numbers": x.sum(axis=1)}
    return {**made, "true and false": classes > 0}[kind]


KINDS = ("classes", "yes or no", "numbers")
BOOSTERS: dict[str, dict[str, Any]] = {"gblinear": {}, "dart": {"rate_drop": 0.3, "learning_rate": 0.5}}
FOREST = {"boosting_type": "rf", "subsample_freq": 1, "subsample": 0.5}


def _xgboost(kind: str, name: str, **options: Any) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        import xgboost

        wanted = xgboost.XGBRegressor if kind == "numbers" else xgboost.XGBClassifier
        wanted(n_estimators=20, max_depth=4, **options).fit(rows()[0], _targets(kind)).save_model(folder / name)
        return str(folder / name)

    return make


def _lightgbm(kind: str, **options: Any) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        import lightgbm

        wanted = lightgbm.LGBMRegressor if kind == "numbers" else lightgbm.LGBMClassifier
        model = wanted(n_estimators=20, verbose=-1, **options).fit(rows()[0], _targets(kind))
        model.booster_.save_model(folder / "model.txt")
        return str(folder / "model.txt")

    return make


def _catboost(kind: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        import catboost

        wanted = catboost.CatBoostRegressor if kind == "numbers" else catboost.CatBoostClassifier
        model = wanted(iterations=20, verbose=0, allow_writing_files=False).fit(rows()[0], _targets(kind))
        model.save_model(str(folder / "model.cbm"))
        return str(folder / "model.cbm")

    return make


def _cut(make: Callable[[Path], str]) -> Callable[[Path], str]:
    def cut(folder: Path) -> str:
        path = Path(make(folder))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return str(path)

    return cut


def _frame() -> Any:
    import pandas as pd  # type: ignore[import-untyped]

    return pd.DataFrame(rows()[0][:, :3], columns=["one", "two", "three"])


def _named_xgboost(folder: Path) -> str:
    import xgboost

    xgboost.XGBRegressor(n_estimators=3).fit(_frame(), _targets("numbers")).save_model(folder / "model.ubj")
    return str(folder / "model.ubj")


def _named_lightgbm(folder: Path) -> str:
    import lightgbm

    model = lightgbm.LGBMRegressor(n_estimators=3, verbose=-1).fit(_frame(), _targets("numbers"))
    model.booster_.save_model(folder / "model.txt")
    return str(folder / "model.txt")


def _named_catboost(folder: Path) -> str:
    import catboost

    model = catboost.CatBoostRegressor(iterations=3, verbose=0, allow_writing_files=False)
    model.fit(_frame(), _targets("numbers")).save_model(str(folder / "model.cbm"))
    return str(folder / "model.cbm")


NAMED = {"XGBoost .ubj": _named_xgboost, "LightGBM .txt": _named_lightgbm, "CatBoost .cbm": _named_catboost}


def _beside_other_columns(make: Callable[[Path], str]) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        (folder / "rows.csv").write_text("three,two,four\n" + "0.5,1.5,2.5\n" * 8)
        return make(folder)

    return write
