"""Classifiers as skl2onnx makes them by default, packed by the command and asked over HTTP: the dictionaries' numbers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from tests.runtime.conftest import Running

RANDOM = np.random.default_rng(11)
POINTS = RANDOM.standard_normal((90, 4)).astype(np.float32) + 2 * np.eye(4, dtype=np.float32)[np.arange(90) % 3]
NUMBERS = np.array([30, 10, 20])[np.arange(90) % 3]
TEXTS = np.array(["sea", "land", "sky"])[np.arange(90) % 3]
ASKED = POINTS[:7]


def pack(source: Path) -> subprocess.CompletedProcess[str]:
    named = ["--name", "places", "--version", "1.0.0"]
    command = [sys.executable, "-m", "tidegate", "pack", str(source), "-o", str(source.parent / "bundle"), *named]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("estimator", "right", "classes"),
    [
        (LogisticRegression(), NUMBERS, [10, 20, 30]),
        (LogisticRegression(), TEXTS, ["land", "sea", "sky"]),
        (DecisionTreeClassifier(max_depth=3, random_state=0), TEXTS, ["land", "sea", "sky"]),
        (LogisticRegression(), NUMBERS > 10, [0, 1]),
    ],
    ids=["whole numbers", "texts", "a tree", "two classes"],
)
def test_a_classifier_with_zipmap_answers_over_http_what_its_dictionaries_say(
    tmp_path: Path, serve: Callable[..., Running], estimator: Any, right: Any, classes: list[Any]
) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(to_onnx(estimator.fit(POINTS, right), POINTS[:1]).SerializeToString())
    label, dictionaries = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).run(
        None, {"X": ASKED}
    )

    packed = pack(source)

    assert packed.returncode == 0, packed.stderr
    assert "note: the output 'output_probability' was a list of dictionaries (ZipMap)" in packed.stderr
    assert "rows against ONNX: 0 differ" in packed.stdout
    lines = (tmp_path / "bundle" / "labels.txt").read_text().splitlines()
    assert lines == list(map(str, classes))
    request = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [7, 4], "data": ASKED.ravel().tolist()}]}
    answer = serve(tmp_path / "bundle").infer(request, model="places").json
    found = {output["name"]: output for output in answer["outputs"]}
    assert found["output_probability"]["shape"] == [7, len(classes)]
    rows = np.reshape(found["output_probability"]["data"], (7, len(classes)))
    expected = [[row[name] for name in classes] for row in dictionaries]
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
    assert found["output_label"]["data"] == label.tolist()


def test_the_classification_extension_names_the_classes_of_the_dictionaries(
    tmp_path: Path, serve: Callable[..., Running]
) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(to_onnx(LogisticRegression().fit(POINTS, TEXTS), POINTS[:1]).SerializeToString())
    assert pack(source).returncode == 0
    request = {
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": ASKED[0].tolist()}],
        "outputs": [{"name": "output_probability", "parameters": {"classification": 1}}],
    }

    (output,) = serve(tmp_path / "bundle").infer(request, model="places").json["outputs"]

    assert output["data"][0].endswith(":1:sea")


def test_a_zipmap_of_too_few_classes_ends_the_command_in_one_line(tmp_path: Path) -> None:
    model = to_onnx(LogisticRegression().fit(POINTS, NUMBERS), POINTS[:1])
    (zipmap,) = [node for node in model.graph.node if node.op_type == "ZipMap"]
    zipmap.attribute[0].ints.pop()
    onnx.save(model, tmp_path / "model.onnx")

    packed = pack(tmp_path / "model.onnx")

    assert packed.returncode == 1
    assert "error: model.onnx: the ZipMap of the output 'output_probability' names 2 classes for 3" in packed.stderr
    assert len(packed.stderr.splitlines()) == 1
    assert not (tmp_path / "bundle").exists()
