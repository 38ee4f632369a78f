"""Packing folders: the ONNX Model Zoo with its requests and answers, MLflow with its parameters and metrics."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnxruntime
import pytest
from onnx import numpy_helper
from sklearn.linear_model import LinearRegression

from tidegate.author import GoldenRequest
from tidegate.bundle.errors import GoldenInvalid
from tidegate.errors import Failed, Invalid


@pytest.fixture
def zoo(linear: Callable[..., Path]) -> Path:
    """A model, and eleven requests with their answers."""
    source = linear()
    session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    for number in range(11):
        x = np.full((1, 4), number, np.float32)
        write(source.parent / f"test_data_set_{number}" / "input_0.pb", x)
        write(source.parent / f"test_data_set_{number}" / "output_0.pb", session.run(None, {"x": x})[0])
    return source.parent


def write(path: Path, array: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(numpy_helper.from_array(array, "some_name").SerializeToString())


def test_test_data_of_the_model_zoo_become_golden_samples_in_their_order(packed: Any, zoo: Path) -> None:
    bundle = packed(zoo).bundle

    golden = bundle.manifest.golden
    assert (golden.source, len(golden.files)) == ("user", 11)
    with np.load(bundle.path / golden.files[10]) as arrays:
        assert arrays["input:x"].tolist() == [[10.0] * 4]


def test_generated_samples_are_made_where_the_folder_brings_none(packed: Any, linear: Any) -> None:
    assert packed(linear().parent).bundle.manifest.golden.source == "generated"


def test_no_samples_are_taken_when_none_are_wanted(packed: Any, zoo: Path) -> None:
    assert packed(zoo, golden=GoldenRequest("none")).bundle.manifest.golden is None


def test_answers_of_another_model_are_refused(packed: Any, zoo: Path) -> None:
    write(zoo / "test_data_set_3" / "output_0.pb", np.zeros((1, 3), np.float32))

    with pytest.raises(GoldenInvalid, match="the model does not answer what the samples expect: 'y'"):
        packed(zoo)


@pytest.mark.parametrize(
    ("side", "array", "message"),
    [
        ("input", np.full((1, 4), 1e39), r"input_0\.pb: 'x': 1e\+39 \(row 1\) is no FP32"),
        ("output", np.full((1, 3), -1e39), r"output_0\.pb: 'y': -1e\+39 \(row 1\) is no FP32"),
    ],
)
def test_test_data_that_a_cast_would_change_are_refused(
    packed: Any, zoo: Path, side: str, array: Any, message: str
) -> None:
    write(zoo / "test_data_set_0" / f"{side}_0.pb", array)

    with pytest.raises(GoldenInvalid, match=message):
        packed(zoo)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "input_0.pb").unlink(), r"test_data_set_0: 0 files input_\*.pb, the model has 1"),
        (lambda folder: (folder / "input_0.pb").write_bytes(b"\xff\xff"), "input_0.pb: it holds no tensor"),
        (lambda folder: (folder / "input_0.pb").write_bytes(b""), "input_0.pb: it holds no tensor"),
        (lambda folder: os.truncate(folder / "input_0.pb", 2**30), "input_0.pb: it has 1,073,741,824 bytes, allowed"),
    ],
)
def test_test_data_that_are_damaged_are_named(packed: Any, zoo: Path, damage: Any, message: str) -> None:
    damage(zoo / "test_data_set_0")

    with pytest.raises(GoldenInvalid, match=message):
        packed(zoo)


@pytest.fixture
def mlflow(tmp_path: Path) -> Path:
    """A model that MLflow logged into a file store."""
    run = tmp_path / "mlruns" / "0" / "abc"
    model = run / "artifacts" / "model"
    for path in (model, run / "params", run / "metrics" / "test"):
        path.mkdir(parents=True)
    (run / "params" / "alpha").write_text("0.5\n")
    (run / "metrics" / "test" / "r2").write_text("1700000000 0.5 0\n1700000001 0.75 1\n")
    (run / "metrics" / "loss").write_text("1700000000 nan 0\n")
    (run / "metrics" / "broken").write_text("")
    text = "run_id: abc\nflavors:\n  python_function: {model_path: model.pkl}\n  sklearn: {pickled_model: model.pkl}\n"
    (model / "MLmodel").write_text(text)
    joblib.dump(LinearRegression().fit(np.eye(4), np.arange(4)), model / "model.pkl")
    return model


def test_parameters_and_metrics_of_the_run_come_along(packed: Any, mlflow: Path) -> None:
    manifest = packed(mlflow, trust_pickle=True).bundle.manifest

    assert manifest.training == {"params": {"alpha": "0.5"}}
    assert manifest.metric_values() == {"test_r2": 0.75}
    assert manifest.parity["original"]["against"] == "scikit-learn"


def test_a_pickle_in_an_mlflow_folder_is_still_a_pickle(packed: Any, mlflow: Path) -> None:
    with pytest.raises(Failed, match=r"model\.pkl: this is a pickle"):
        packed(mlflow)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("flavors: {spark: {data: x}}", "its flavors are spark: there is no model of a known framework"),
        ("flavors: [", "cannot be read as YAML"),
        ("[1]", "it names no flavors"),
        ("flavors: {onnx: {data: ../../secret.onnx}}", "the flavor onnx names no file inside the folder"),
        ("flavors: {onnx: {}}", "the flavor onnx names no file inside the folder"),
        ("flavors: {onnx: {data: .}}", "the flavor onnx names an MLflow folder again, not a model"),
        ("flavors: {tensorflow: {saved_model_dir: ./}}", "the flavor tensorflow names an MLflow folder again"),
        ("flavors: {onnx: {data: absent.onnx}}", "absent.onnx: the model that MLmodel names is missing"),
    ],
)
def test_an_mlmodel_that_leads_nowhere_is_refused(packed: Any, mlflow: Path, content: str, message: str) -> None:
    (mlflow / "MLmodel").write_text(content)

    with pytest.raises((Failed, Invalid), match=message):
        packed(mlflow)
