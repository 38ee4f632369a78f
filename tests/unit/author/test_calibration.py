"""Tolerances that leave room for how an unharmed model's answers move, and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.naive_bayes import GaussianNB

from tidegate.author import DataSet, GoldenRequest, calibration
from tidegate.author.calibration import Calibrated, NotRepeatable, calibrate
from tidegate.author.golden import greedy, tolerances
from tidegate.author.session import Settings
from tidegate.bundle.golden import GoldenSample
from tidegate.bundle.manifest import Interface, TensorSpec

FACE = Interface((TensorSpec("x", "FP32", ("batch", 2)),), (TensorSpec("y", "FP32", ("batch", 2)),))
INPUTS = {"x": np.ones((2, 2), np.float32)}


@dataclass(frozen=True, slots=True)
class Moving:
    """A model that answers zeros, or how far off these settings are."""

    by: float

    def run(self, inputs: Any) -> Any:
        return {"y": np.full((len(inputs["x"]), 2), self.by, np.float32)}


@pytest.fixture
def calibrated(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Calibrated]:
    """Calibrate a model whose answers move by what this says for the settings, on a machine with a GPU or none."""

    def run(moves: Callable[[Settings], float], *, gpu: bool = False) -> Calibrated:
        monkeypatch.setattr(calibration, "open_runner", lambda _path, _face, settings: Moving(moves(settings)))
        monkeypatch.setattr(calibration, "has_cuda", lambda: gpu)
        sample = GoldenSample(INPUTS, Moving(0).run(INPUTS))
        return calibrate([sample], Path("model.onnx"), FACE, tolerances(FACE, quantized=False))

    return run


def _rows(found: Calibrated) -> dict[str, tuple[float, float]]:
    return {row.device: (row.atol, row.rtol) for row in (*found.rules, *found.for_devices)}


def test_a_model_that_does_not_move_keeps_the_defaults_of_every_device(calibrated: Any) -> None:
    found = calibrated(lambda settings: 0.0)

    assert _rows(found) == {"": (1e-4, 1e-3), "cuda": (1e-3, 1e-2), "tensorrt": (1e-3, 1e-2)}
    assert found.notes == ()


def test_threads_that_use_up_half_the_tolerance_get_room(calibrated: Any) -> None:
    found = calibrated(lambda settings: 5e-5 if settings.threads == 2 else 0.0)

    assert _rows(found)[""] == pytest.approx((1.5e-4, 1.5e-3), rel=1e-3)
    assert "the tolerance of 'y' is 0.00015 + 0.0015·|b|" in found.notes[0]


def test_a_gpu_that_rounds_gets_room_of_its_own(calibrated: Any) -> None:
    found = calibrated(lambda settings: 1e-3 if settings.tf32 else 0.0, gpu=True)

    assert _rows(found)[""] == (1e-4, 1e-3)
    assert _rows(found)["cuda"] == pytest.approx((3e-3, 3e-2), rel=1e-3)
    assert [one.device for one in found.seen] == ["cpu", "cuda"]


def test_answers_that_move_too_far_are_refused(calibrated: Any) -> None:
    with pytest.raises(NotRepeatable, match="when run again with 1 thread, graph optimization off: 4 of 4 elements"):
        calibrated(lambda settings: 0.0 if settings.optimize else 3e-4)


def test_the_same_settings_get_no_room_at_all(calibrated: Any) -> None:
    with pytest.raises(NotRepeatable, match="1 thread, graph optimization on"):
        calibrated(lambda settings: 1.5e-4)


def test_what_was_seen_is_recorded(packed: Any, linear: Any) -> None:
    manifest = packed(linear()).bundle.manifest

    seen = manifest.parity["calibration"]["cpu"]
    assert seen["runs"] == 4
    assert float(seen["worstDifference"]["y"]) < 1e-5
    assert {row.device for row in manifest.golden.tolerance} == {"", "cuda", "tensorrt"}


def test_every_class_is_shown_as_far_as_there_is_room() -> None:
    noticed = np.zeros((1, 12), dtype=bool)
    noticed[0, :9] = True
    classes = np.array([0] * 9 + [1, 2, 3])

    chosen = greedy(noticed, np.ones(12), classes, usable=np.ones(12, bool), count=4)

    assert sorted(classes[chosen]) == [0, 1, 2, 3]


def test_real_rows_of_every_class_in_batches_of_many_sizes_become_golden_samples(packed: Any) -> None:
    digits = load_digits()
    model = GaussianNB().fit(digits.data[:900], digits.target[:900])
    data = DataSet("digits", {"X": digits.data[900:]}, digits.target[900:])

    bundle = packed(model, data=data, golden=GoldenRequest("heldout")).bundle

    labels = [np.load(bundle.path / path)["output:label"] for path in bundle.manifest.golden.files]
    assert set(np.concatenate(labels).tolist()) == set(range(10))
    assert {len(batch) for batch in labels} == {1, 2, 4, 8}
