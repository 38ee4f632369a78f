"""The models of examples/models that need nothing beyond scikit-learn: packed, served their golden samples, measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.bundle.manifest import Manifest, read_bundle_dir

FOLDER = Path(__file__).parents[2] / "examples" / "models"


def _made(name: str, folder: Path) -> Manifest:
    """The manifest of what the script packs; its last line says that the server answers its golden samples."""
    command = [sys.executable, str(FOLDER / f"{name}.py"), str(folder / "bundle")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "golden samples differ by" in done.stdout
    return read_bundle_dir(folder / "bundle").manifest


@pytest.mark.parametrize(("name", "metric", "least"), [("risk", "roc_auc", 0.9), ("text", "accuracy", 0.98)])
def test_a_model_on_generated_rows_is_packed_and_finds_their_rule(
    tmp_path: Path, name: str, metric: str, least: float
) -> None:
    manifest = _made(name, tmp_path)

    assert manifest.metric_values()[metric] >= least
    assert manifest.parity["original"]["mismatchedRows"] == 0


def test_the_recommender_finds_ratings_that_it_was_not_shown(tmp_path: Path) -> None:
    noise = 0.1

    assert _made("recommender", tmp_path).metric_values()["rmse"] < 1.5 * noise
