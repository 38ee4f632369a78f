"""scikit-learn: estimators and pipelines, from a factory and from files; what skl2onnx does silently wrong."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.frameworks.case import Case

FRAMEWORK = "sklearn"


def cases() -> list[Case]:
    models = [(".joblib", name, _dumped(make)) for name, make in NUMBERS.items()]
    models += [(".skops", name, _skops(make)) for name, make in list(NUMBERS.items())[:5]]
    return [
        *(Case(FRAMEWORK, "module:factory", name, _script(body)) for name, body in SCRIPTS.items()),
        *(Case(FRAMEWORK, format_, name, make, options={"trust_pickle": True}) for format_, name, make in models),
        *faults(),
    ]


def faults() -> list[Case]:
    trusted = {"trust_pickle": True}
    return [
        Case(FRAMEWORK, ".joblib", "not trusted", _dumped(linear), refused="PickleRefused.*--trust-pickle"),
        Case(FRAMEWORK, "pickle", "a bomb, not trusted", _bomb, refused="PickleRefused"),
        Case(FRAMEWORK, ".joblib", "cut off", _cut, options=trusted, refused="cannot be read"),
        Case(FRAMEWORK, ".joblib", "of an older version", _older, options=trusted, refused="VersionMismatch.*1.0.0"),
        Case(FRAMEWORK, ".skops", "cut off", _cut_skops, refused="a damaged zip archive"),
        Case(FRAMEWORK, ".skops", "a type that is not trusted", _odd_skops, refused="PickleRefused.*Odd"),
        Case(
            FRAMEWORK, "module:factory", "FunctionTransformer", _script(FUNCTION), refused="ConversionFailed.*function"
        ),
        Case(FRAMEWORK, "module:factory", "a step of one's own", _script(OWN), refused="ConversionFailed.*replace"),
        Case(FRAMEWORK, "module:factory", "not fitted", _script("return LinearRegression()"), refused="not fitted"),
    ]


HEAD = """
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import *
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import *
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import *

r = np.random.default_rng(0)
X = r.standard_normal((400, 6))
y = (X[:, 0] * 2 + X[:, 1] > 0).astype(int) + (X[:, 2] > 0)

"""

SCRIPTS = {
    "linear": "return LogisticRegression().fit(X, y)",
    "MLP": "return make_pipeline(StandardScaler(), MLPClassifier((16,), max_iter=200, tol=0.1)).fit(X, y)",
    "MLP, 4 outputs (came out flattened)": "return MLPRegressor(hidden_layer_sizes=(8,), max_iter=200, tol=0.1).fit(X, X[:, :4])",
    "stack": "return StackingClassifier([('a', LogisticRegression()), ('b', RandomForestClassifier(5))]).fit(X, y)",
    "vote": (
        "return VotingClassifier([('a', LogisticRegression()), ('b', RandomForestClassifier(5))], "
        "flatten_transform=False).fit(X, y)"
    ),
    "boosted on scaled rows (moved rows before)": (
        "return make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=30)).fit(X, y)"
    ),
    "texts": """
    texts = ['the tide is high', 'the gate is shut', 'high water', 'shut the gate', 'low tide', 'open gate'] * 3
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, ['sea', 'lock'] * 9)""",
    "columns of two types": """
    rows = np.array([['a', 1.0], ['b', 2.0], ['a', 3.0], ['c', 1.0]] * 5, dtype=object)
    columns = ColumnTransformer([('city', OneHotEncoder(), [0]), ('age', StandardScaler(), [1])])
    return make_pipeline(columns, LogisticRegression()).fit(rows, [0, 1, 0, 1] * 5)""",
    "a DataFrame": """
    import pandas as pd
    rows = pd.DataFrame({'city': list('abac') * 5, 'age': [1.0, 2.0, 3.0, 1.5] * 5})
    columns = ColumnTransformer([('city', OneHotEncoder(), ['city']), ('age', StandardScaler(), ['age'])])
    return make_pipeline(columns, LogisticRegression()).fit(rows, [0, 1, 0, 1] * 5)""",
}
FUNCTION = "return make_pipeline(FunctionTransformer(np.log1p), LinearRegression()).fit(abs(X), y)"
OWN = """
    class Halved(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            self.n_features_in_ = X.shape[1]
            return self
        def transform(self, X):
            return X / 2
    return make_pipeline(Halved(), LinearRegression()).fit(X, y)"""


def _script(body: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "train.py").write_text(f"{HEAD}def model():\n    {body}\n")
        return f"{folder}/train.py:model"

    return make


def rows() -> tuple[Any, Any]:
    """Four hundred rows of six columns in three classes."""
    import numpy as np

    x = np.random.default_rng(0).standard_normal((400, 6))
    return x, (2 * x[:, 0] + x[:, 1] > 0).astype(int) + (x[:, 2] > 0)


def linear() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(*rows())


def _forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(20, random_state=0).fit(*rows())


def _neural() -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((16,), max_iter=200, tol=0.1, random_state=0).fit(*rows())


def _neighbours() -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(3).fit(*rows())


def _vectors() -> Any:
    from sklearn.svm import SVC

    return SVC(probability=False).fit(*rows())


def _outliers() -> Any:
    from sklearn.ensemble import IsolationForest

    return IsolationForest(n_estimators=10, random_state=0).fit(rows()[0])


def _gradients() -> Any:
    from sklearn.ensemble import GradientBoostingRegressor

    x, _ = rows()
    return GradientBoostingRegressor(n_estimators=20).fit(x.astype("float32"), x.sum(axis=1))


NUMBERS = {
    "linear": linear,
    "MLP": _neural,
    "forest": _forest,
    "neighbours": _neighbours,
    "support vectors": _vectors,
    "outliers": _outliers,
    "boosted": _gradients,
}


def _dumped(make: Callable[[], Any]) -> Callable[[Path], str]:
    def dump(folder: Path) -> str:
        import joblib

        joblib.dump(make(), folder / "model.joblib", compress=3)
        return str(folder / "model.joblib")

    return dump


def _skops(make: Callable[[], Any]) -> Callable[[Path], str]:
    def dump(folder: Path) -> str:
        import skops.io

        skops.io.dump(make(), folder / "model.skops")
        return str(folder / "model.skops")

    return dump


class Bomb:
    """Writes a file when it is read."""

    def __reduce__(self) -> Any:
        return open, ("/tmp/tidegate-was-here", "w")


class Odd:
    """A class that nobody trusts."""


def _bomb(folder: Path) -> str:
    (folder / "model.pkl").write_bytes(pickle.dumps(Bomb()))
    return str(folder / "model.pkl")


def _cut(folder: Path) -> str:
    path = Path(_dumped(linear)(folder))
    path.write_bytes(path.read_bytes()[:-50])
    return str(path)


def _older(folder: Path) -> str:
    import sklearn

    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(linear(), protocol=4).replace(sklearn.__version__.encode(), b"1.0.0"))
    return str(path)


def _cut_skops(folder: Path) -> str:
    path = Path(_skops(linear)(folder))
    path.write_bytes(path.read_bytes()[:-100])
    return str(path)


def _odd_skops(folder: Path) -> str:
    return _skops(Odd)(folder)
