"""Heads trained on the features of a frozen backbone: how good, how proved, and what cannot be trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tests.unit.author.derive.conftest import answers, bundle_of, model_of, weight

from tidegate.author import DataSet
from tidegate.author.derive.heads import TrainHead
from tidegate.author.derive.training import TrainingFailed
from tidegate.author.packing import Packed
from tidegate.errors import Invalid, UsageError


def convolutions(rows: Any, filters: int = 16) -> onnx.ModelProto:
    """pixels [batch, 64] -> features [batch, filters, 4, 4]; the filters are what patches of `rows` are made of."""
    pictures = rows.reshape(-1, 8, 8)
    patches = np.lib.stride_tricks.sliding_window_view(pictures, (3, 3), axis=(1, 2)).reshape(-1, 9)
    patches = patches - patches.mean(axis=1, keepdims=True)
    sizes = np.linalg.norm(patches, axis=1, keepdims=True)
    edges = (patches / np.maximum(sizes, 1e-6))[sizes[:, 0] > 0.3][:5000]
    found = KMeans(filters, n_init=1, random_state=0).fit(edges).cluster_centers_
    return model_of(
        [
            helper.make_node("Reshape", ["pixels", "shape"], ["picture"]),
            helper.make_node("Conv", ["picture", "filters"], ["edges"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["edges"], ["awake"]),
            helper.make_node("AveragePool", ["awake"], ["features"], kernel_shape=[2, 2], strides=[2, 2]),
        ],
        [("pixels", ["batch", 64])],
        [("features", ["batch", filters, 4, 4])],
        {"filters": found.astype(np.float32).reshape(filters, 1, 3, 3), "shape": np.array([-1, 1, 8, 8])},
    )


@pytest.fixture(scope="module")
def digits() -> tuple[DataSet, DataSet]:
    """1,078 rows to train on and 719 that nothing here is ever trained on."""
    rows, labels = load_digits(return_X_y=True)
    training, test = train_test_split(np.arange(len(rows)), test_size=719, random_state=0, stratify=labels)
    pixels = (rows / 16).astype(np.float32)
    return (
        DataSet("train", {"pixels": pixels[training]}, labels[training]),
        DataSet("test", {"pixels": pixels[test]}, labels[test]),
    )


def test_a_head_on_a_frozen_backbone_reads_digits(
    derived: Any, digits: tuple[DataSet, DataSet], tmp_path: Path
) -> None:
    training, test = digits
    base = bundle_of(convolutions(training.columns["pixels"]), tmp_path / "base").bundle

    manifest = derived(TrainHead("logistic", test=test), of=base.path, data=training).bundle.manifest

    (accuracy,) = [metric for metric in manifest.metrics if metric.name == "accuracy"]
    assert accuracy.value >= 0.985
    assert (accuracy.dataset, accuracy.samples) == ("test", 719)
    assert manifest.lineage.parents == (base.digest,)
    assert manifest.parity["head"]["against"] == "scikit-learn"
    assert manifest.parity["head"]["mismatchedRows"] == manifest.parity["new-head"]["mismatchedRows"] == 0


def test_a_fifth_of_the_rows_is_held_out_of_the_training(derived: Any, blobs: DataSet) -> None:
    result = derived(TrainHead("logistic", "hidden"), data=blobs)

    metrics = {metric.name: metric for metric in result.bundle.manifest.metrics}
    assert (metrics["accuracy"].dataset, metrics["accuracy"].samples) == ("blobs, held out", 36)
    assert result.notes == ("trained on 144 rows of 'hidden', measured on 36 of blobs, held out",)


def test_the_backbone_stays_as_it_is(derived: Any, blobs: DataSet) -> None:
    result = derived(TrainHead("logistic", "hidden"), data=blobs)

    tensors = {tensor.name: tensor for tensor in onnx.load(result.bundle.path / "model.onnx").graph.initializer}
    assert onnx.numpy_helper.to_array(tensors["first"]) == pytest.approx(weight(4, 6))
    assert "second" not in tensors


@pytest.mark.parametrize(("kind", "metric", "least"), [("ridge", "r2", 0.9), ("mlp", "r2", 0.8)])
def test_numbers_are_learnt_as_well(derived: Any, blobs: DataSet, kind: str, metric: str, least: float) -> None:
    sums = replace(blobs, labels=np.maximum(blobs.columns["x"] @ weight(4, 6), 0) @ weight(6, 1)[:, 0])

    result = derived(TrainHead(kind, "hidden"), data=sums)

    assert result.bundle.manifest.metric_values()[metric] > least


def test_classes_that_are_texts_come_back_as_texts(derived: Any, blobs: DataSet) -> None:
    named = replace(blobs, labels=np.array(["red", "green", "blue"], dtype=object)[blobs.labels])

    result = derived(TrainHead("mlp", "hidden"), data=named)

    label, _ = answers(result.bundle.path, x=blobs.columns["x"][:5])
    assert set(label.tolist()) <= {"red", "green", "blue"}


def test_half_precision_features_are_trained_on_in_full(derived: Any, blobs: DataSet, tmp_path: Path) -> None:
    half = helper.make_tensor_value_info("half", TensorProto.FLOAT16, ["batch", 4])
    model = model_of(
        [helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16)], [("x", ["batch", 4])], [half], {}
    )
    base = bundle_of(model, tmp_path / "half").bundle.path

    result = derived(TrainHead("logistic"), of=base, data=blobs)

    assert result.bundle.manifest.metric_values()["accuracy"] > 0.8


@pytest.mark.parametrize(
    ("kind", "change", "error", "message"),
    [
        ("logistic", {"labels": None}, UsageError, "rows and what is right for each"),
        ("logistic", {"labels": np.linspace(0, 1, 180)}, UsageError, "these labels are no classes"),
        ("ridge", {"labels": np.array(["a"] * 180)}, UsageError, "these labels are no numbers"),
        ("logistic", {"labels": np.zeros(180, int)}, TrainingFailed, "scikit-learn cannot fit a logistic head"),
        ("ridge", {"labels": np.full(180, np.nan)}, TrainingFailed, "NaN"),
        (
            "logistic",
            {"columns": {"x": np.zeros((180, 5))}},
            Invalid,
            r"'x': it takes rows of \[4\], the data have \[5\]",
        ),
        ("logistic", {"columns": {"x": np.array([["a"] * 4] * 180)}}, Invalid, "and the data are texts"),
        ("logistic", {"columns": {"x": np.zeros((5, 4))}, "labels": np.arange(5)}, Invalid, "5 rows are too few"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    derived: Any, blobs: DataSet, tmp_path: Path, *, kind: str, change: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        derived(TrainHead(kind, "hidden"), data=replace(blobs, **change))

    assert list(tmp_path.iterdir()) == []


def test_features_that_are_no_numbers_are_refused(derived: Any, blobs: DataSet, tmp_path: Path) -> None:
    sign = helper.make_tensor_value_info("sign", TensorProto.INT64, ["batch", 4])
    model = model_of(
        [helper.make_node("Cast", ["x"], ["sign"], to=TensorProto.INT64)], [("x", ["batch", 4])], [sign], {}
    )
    base = bundle_of(model, tmp_path / "signs").bundle.path

    with pytest.raises(Invalid, match="'sign' is INT64: features are numbers with a fraction"):
        derived(TrainHead("logistic"), of=base, data=blobs)


def test_which_tensor_is_asked_where_there_are_several(derived: Any, blobs: DataSet, tmp_path: Path) -> None:
    model = model_of(
        [helper.make_node("Neg", ["x"], ["a"]), helper.make_node("Abs", ["x"], ["b"])],
        [("x", ["batch", 4])],
        [("a", ["batch", 4]), ("b", ["batch", 4])],
        {},
    )
    base: Packed = bundle_of(model, tmp_path / "two")

    with pytest.raises(Invalid, match=r"it has 2 outputs \(a, b\), and no tensor is named"):
        derived(TrainHead("logistic"), of=base.bundle.path, data=blobs)


NUMBERED = ("1", "10", "2")  # folders of images, in the order of their names


def test_folders_that_are_called_by_numbers_are_measured_as_they_are_trained(derived: Any, blobs: DataSet) -> None:
    result = derived(TrainHead("logistic", "hidden"), data=replace(blobs, classes=NUMBERED))

    assert result.bundle.manifest.metric_values()["accuracy"] > 0.9


def test_classes_are_the_same_by_name_where_a_folder_of_the_test_is_missing(derived: Any, blobs: DataSet) -> None:
    there = np.flatnonzero(blobs.labels)[::2]
    test = DataSet("test", {"x": blobs.columns["x"][there]}, blobs.labels[there] - 1, classes=NUMBERED[1:])

    result = derived(TrainHead("logistic", "hidden", test), data=replace(blobs, classes=NUMBERED))

    assert result.bundle.manifest.metric_values()["accuracy"] > 0.9


DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"classes": ("1", "10", "3")}, Invalid, "the class '3' is none of those to train on: 1, 10, 2"),
        ({"classes": ()}, UsageError, "is a folder of images by class, the other has labels of its own"),
        ({"labels": None}, UsageError, "what is right for each of its rows is not said"),
        ({"digest": DIGEST}, UsageError, "these are the rows that are trained on"),
    ],
)
def test_rows_that_cannot_measure_a_head_are_refused(
    derived: Any, blobs: DataSet, tmp_path: Path, *, change: dict[str, Any], error: type, message: str
) -> None:
    data = replace(blobs, classes=NUMBERED, digest=DIGEST)

    with pytest.raises(error, match=message):
        derived(TrainHead("logistic", "hidden", replace(data, **{"digest": "", **change})), data=data)

    assert list(tmp_path.iterdir()) == []
