"""Metrics from answers and labels, and reading the files that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, mean_squared_error, precision_score, r2_score, recall_score

from tidegate.author.data import read_data
from tidegate.author.given_metrics import metric_of, read_metrics
from tidegate.author.metrics import classification, measure, regression
from tidegate.errors import Invalid


@pytest.mark.parametrize("classes", [2, 5])
def test_class_metrics_are_what_scikit_learn_says(classes: int) -> None:
    random = np.random.default_rng(0)
    right = random.integers(0, classes, 200)
    found = np.where(random.random(200) < 0.7, right, random.integers(0, classes, 200))
    average = "binary" if classes == 2 else "macro"

    metrics = classification(found, right)

    assert metrics["accuracy"] == pytest.approx((found == right).mean())
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert metrics[name] == pytest.approx(score(right, found, average=average))


def test_number_metrics_are_what_scikit_learn_says() -> None:
    random = np.random.default_rng(0)
    right = random.standard_normal(100)
    found = right + random.standard_normal(100)

    metrics = regression(found, right)

    assert metrics["mae"] == pytest.approx(np.abs(found - right).mean())
    assert metrics["rmse"] == pytest.approx(mean_squared_error(right, found) ** 0.5)
    assert metrics["r2"] == pytest.approx(r2_score(right, found))


def test_scores_without_a_label_are_judged_by_the_largest() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2]])

    assert measure({"p": scores}, np.array([1, 0]), {"p": "FP32"})["accuracy"] == 1


def test_text_labels_that_no_output_can_name_are_refused() -> None:
    with pytest.raises(Invalid, match="no output names a class"):
        measure({"y": np.zeros((2, 1))}, np.array(["a", "b"]), {"y": "FP32"})


def test_an_npz_gives_columns_and_labels_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", X=np.eye(3), y=np.arange(3))

    data = read_data(tmp_path / "d.npz", "y")

    assert list(data.columns) == ["X"]
    assert data.labels.tolist() == [0, 1, 2]
    assert data.digest.startswith("sha256:")


def test_a_csv_gives_typed_columns(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("age,city,y\n1.5,Rome,0\n2,Oslo,1\n")

    data = read_data(tmp_path / "d.csv", "y")

    assert data.columns["age"].tolist() == [1.5, 2.0]
    assert data.columns["city"].tolist() == ["Rome", "Oslo"]
    assert data.labels.dtype == np.int64


def test_labels_may_be_a_file_of_their_own(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.eye(3))
    np.save(tmp_path / "y.npy", np.arange(3))

    assert read_data(tmp_path / "x.npy", str(tmp_path / "y.npy")).labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("write", "labels", "message"),
    [
        (lambda p: np.savez(p, X=np.eye(3), y=np.arange(2)), "y", "2 labels for 3 rows"),
        (lambda p: np.savez(p, X=np.eye(3), Z=np.eye(2)), "", "different numbers of rows"),
        (lambda p: np.savez(p, X=np.eye(3)), "y", "no labels 'y'"),
        (lambda p: np.savez(p, X=np.array([{}], dtype=object)), "", "cannot be read"),
        (lambda p: np.savez(p, X=np.zeros((0, 2))), "", "no rows"),
        (lambda p: p.write_bytes(b"a,b\n1,2\n3\n"), "", ":3: 1 fields"),
        (lambda p: p.write_bytes(b"\xff\xfe\x00"), "", "not a CSV"),
        (lambda p: p.write_bytes(b"PK\x03\x04cut off"), "", "cannot be read"),
    ],
)
def test_data_that_cannot_be_used_is_refused(tmp_path: Path, write: Any, labels: str, message: str) -> None:
    write(tmp_path / "d.npz")

    with pytest.raises(Invalid, match=message):
        read_data(tmp_path / "d.npz", labels)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"none\.csv: no such file"):
        read_data(tmp_path / "none.csv")


def test_metrics_computed_elsewhere_come_from_json(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"auc": 0.91}')

    assert read_metrics(tmp_path / "m.json") == {"auc": 0.91}


@pytest.mark.parametrize("text", ["{", "[1]", '{"auc": "high"}', '{"auc": NaN}', '{"auc": true}'])
def test_json_that_holds_no_numbers_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)

    with pytest.raises(Invalid, match=r"m\.json"):
        read_metrics(tmp_path / "m.json")


@pytest.mark.parametrize("text", ["accuracy", "=1", "accuracy=high", "accuracy=inf"])
def test_a_metric_of_the_command_line_is_a_name_and_a_number(text: str) -> None:
    with pytest.raises(Invalid):
        metric_of(text)
