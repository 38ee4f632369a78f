"""Recommender: ten items that a user has not rated yet and would like, best first.

The ratings are generated: every user and every item has tastes, and a few ratings of each are known.  Factors are found
by alternating least squares; the graph that serves them is written with ONNX itself.

    python examples/models/recommender.py bundle
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import tidegate

USERS, ITEMS, TASTES, BEST = 300, 120, 4, 10
RIDGE = 0.5
SEEN = -1e6  # added to the score of what a user has rated already


@dataclass(frozen=True)
class Ratings:
    """Ratings of each item by each user, [USERS, ITEMS]; `known` is where one was given."""

    values: Any
    known: Any


def ratings() -> Ratings:
    """A fifth of all ratings is known."""
    random = np.random.default_rng(3)
    users, items = random.standard_normal((USERS, TASTES)), random.standard_normal((ITEMS, TASTES))
    noise = 0.1 * random.standard_normal((USERS, ITEMS))
    return Ratings(users @ items.T / 2 + noise, random.random((USERS, ITEMS)) < 0.2)


def factors(given: Ratings) -> tuple[Any, Any]:
    """Factors of users [USERS, TASTES] and items [ITEMS, TASTES] whose products are near the known ratings."""
    items = np.random.default_rng(4).standard_normal((ITEMS, TASTES))
    for _ in range(15):
        users = _fitted(items, given.values, given.known)
        items = _fitted(users, given.values.T, given.known.T)
    return users, items


def _fitted(others: Any, values: Any, known: Any) -> Any:
    """Each row's least squares, over those columns that are known of it."""
    rows = []
    for value, mask in zip(values, known, strict=True):
        seen = others[mask]
        rows.append(np.linalg.solve(seen.T @ seen + RIDGE * np.eye(TASTES), seen.T @ value[mask]))
    return np.array(rows)


def model() -> onnx.ModelProto:
    """user INT64 [batch] -> items INT64 [batch, 10] and scores FP32 [batch, 10]"""
    given = ratings()
    users, items = factors(given)
    nodes = [
        helper.make_node("Gather", ["users", "user"], ["tastes"]),
        helper.make_node("MatMul", ["tastes", "items_by_taste"], ["liked"]),
        helper.make_node("Gather", ["seen", "user"], ["seen_by_user"]),
        helper.make_node("Add", ["liked", "seen_by_user"], ["new"]),
        helper.make_node("TopK", ["new", "best"], ["scores", "items"]),
    ]
    weights = {
        "users": users.astype(np.float32),
        "items_by_taste": items.T.astype(np.float32).copy(),
        "seen": np.where(given.known, SEEN, 0).astype(np.float32),
        "best": np.array([BEST], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "recommender",
        [helper.make_tensor_value_info("user", TensorProto.INT64, ["batch"])],
        [
            helper.make_tensor_value_info("items", TensorProto.INT64, ["batch", BEST]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", BEST]),
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def error() -> float:
    """Root of the mean squared error over the ratings that were not known."""
    given = ratings()
    users, items = factors(given)
    return float(np.sqrt(np.mean((users @ items.T - given.values)[~given.known] ** 2)))


def pack(out: Path) -> tidegate.Bundle:
    """The bundle; its only metric was computed here, as no row has one right answer."""
    return tidegate.pack(
        model(),
        name="recommender",
        version="1.0.0",
        out=out,
        data={"user": np.arange(USERS)},
        metrics={"rmse": error()},
        description="Ten items that a user would like.",
        license="Apache-2.0",
    )


if __name__ == "__main__":
    made = pack(Path(sys.argv[1]))
    print(made.ref, made.digest, made.metrics)
    print(f"golden samples differ by {tidegate.check(made).worst:.1g} at most")
