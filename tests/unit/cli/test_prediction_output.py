"""What `tidegate predict` makes of an answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tests.unit.cli.test_inputs import known

from tidegate.cli.asking import document, save, shown
from tidegate.cli.inputs import read_inputs
from tidegate.client import Prediction
from tidegate.client.tensors import to_values


def answered(**outputs: np.ndarray) -> Prediction:
    return Prediction(outputs, dict.fromkeys(outputs, "FP32"), "m", "v1", "r1")


def test_numbers_are_as_short_as_they_can_be_and_json_stays_json() -> None:
    scores = np.array([[0.2, np.nan], [np.inf, -1e-30]], np.float32)

    assert to_values(scores) == [[0.2, None], [None, -1e-30]]
    assert to_values(np.array(0.1, np.float16)) == 0.1
    assert to_values(np.zeros((0, 3), np.float32)) == []
    assert to_values(np.array([2**63], np.uint64)) == [2**63]
    assert json.loads(json.dumps(document(answered(y=scores)), allow_nan=False))["outputs"]["y"]["shape"] == [2, 2]


def test_a_table_shows_the_first_to_values() -> None:
    assert shown(np.array([0.2, 1], np.float32)) == "0.2 1.0"
    assert shown(np.arange(9)) == "0 1 2 3 4 5 6 7 …"


def test_saved_outputs_can_be_inputs_whatever_they_are_called(tmp_path: Path) -> None:
    save(answered(file=np.ones(2), allow_pickle=np.array(["a", "ä"], object)), tmp_path / "out.npz")

    found = read_inputs([str(tmp_path / "out.npz")], known)

    assert {name: array.tolist() for name, array in found.items()} == {"file": [1, 1], "allow_pickle": ["a", "ä"]}
