"""Tabular risk: will a loan be paid back, of numbers and words about who asks for it.

The loans are generated, with a rule behind them that the model has to find.

    python examples/models/risk.py bundle
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import tidegate

HOUSING = np.array(["owned", "rented", "shared"])


def loans(count: int, seed: int) -> tuple[dict[str, Any], Any]:
    """Columns about `count` loans, and which of them were not paid back."""
    random = np.random.default_rng(seed)
    income = random.lognormal(8, 0.4, count)
    share = random.uniform(0.05, 0.6, count)  # of the income, that goes into the rate
    late = random.poisson(0.7, count)  # payments that came late before
    housing = random.integers(0, 3, count)
    odds = 7 * (share - 0.35) + 1.1 * (late - 1) - 0.8 * (np.log(income) - 8) + 0.5 * (housing == 1)
    columns = {
        "income": income.astype(np.float32),
        "share": share.astype(np.float32),
        "late": late.astype(np.float32),
        "housing": HOUSING[housing],
    }
    return columns, (random.random(count) < 1 / (1 + np.exp(-2 * odds))).astype(np.int64)


def matrix(columns: dict[str, Any]) -> Any:
    """The columns side by side, as scikit-learn takes them."""
    return np.array(list(columns.values()), dtype=object).T


def model() -> Pipeline:
    """A fitted pipeline: numbers scaled, words one-hot, 60 small trees."""
    columns = ColumnTransformer([("numbers", StandardScaler(), [0, 1, 2]), ("housing", OneHotEncoder(), [3])])
    table, defaulted = loans(2000, seed=1)
    trees = GradientBoostingClassifier(n_estimators=60, max_depth=2, random_state=0)
    return make_pipeline(columns, trees).fit(matrix(table), defaulted)


def pack(out: Path) -> tidegate.Bundle:
    """The bundle, measured on loans that the model was not trained on."""
    columns, defaulted = loans(500, seed=2)
    return tidegate.pack(
        model(),
        name="risk",
        version="1.0.0",
        out=out,
        data={f"x{number}": column for number, column in enumerate(columns.values())},
        labels=defaulted,
        description="The risk that a loan is not paid back.",
        license="Apache-2.0",
    )


if __name__ == "__main__":
    made = pack(Path(sys.argv[1]))
    print(made.ref, made.digest, made.metrics)
    print(f"golden samples differ by {tidegate.check(made).worst:.1g} at most")
