"""pack --parent: a model that was fine-tuned elsewhere, as a bundle that knows what it began with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tidegate.bundle.manifest import Lineage, read_bundle_dir

# A network of two layers; tuning goes on training the second one only, as one does with little data.
TRAINING = """
import numpy as np
from sklearn.neural_network import MLPClassifier

POINTS, CLASSES = np.eye(4).repeat(5, axis=0), np.arange(4).repeat(5)

def trained(model, points, classes, times):
    for _ in range(times):
        model.partial_fit(points, classes, classes=np.unique(classes))
    return model

def pretrained():
    return trained(MLPClassifier((8,), random_state=0), POINTS, CLASSES, 30)

def tuned():
    model = pretrained()
    frozen = model.coefs_[0].copy(), model.intercepts_[0].copy()
    trained(model, POINTS, CLASSES[::-1], 20)
    model.coefs_[0], model.intercepts_[0] = frozen
    return model

def wider():
    return trained(MLPClassifier((8,), random_state=0), np.eye(5), np.arange(5) % 4, 30)
"""


@pytest.fixture
def parent(tidegate: Any, tmp_path: Path) -> str:
    """The digest of the bundle in `parent`."""
    (tmp_path / "net.py").write_text(TRAINING)
    (tmp_path / "labels.txt").write_text("north\neast\nsouth\nwest\n")
    ended = tidegate("pack", "net.py:pretrained", "-o", "parent", *_named("1"), "--file", "labels.txt", "-q")
    assert ended.code == 0
    return str(ended.out.strip())


def _named(version: str) -> tuple[str, ...]:
    return ("--name", "compass", "--version", version)


def _tuned(tidegate: Any, function: str = "tuned", parent: str = "parent") -> Any:
    source = f"net.py:{function}"
    return tidegate("pack", source, "-o", "child", *_named("2"), "--file", "labels.txt", "--parent", parent)


def test_the_lineage_of_a_fine_tuned_model_is_its_parents_digest(tidegate: Any, parent: str) -> None:
    ended = _tuned(tidegate)

    assert (ended.code, ended.err) == (0, "")
    assert read_bundle_dir(Path("child")).manifest.lineage == Lineage((parent,), "fine-tuned")
    assert f"lineage  fine-tuned from {parent}" in tidegate("inspect", "child").out


def test_a_parent_in_a_store_is_resolved(tidegate: Any, parent: str, tmp_path: Path) -> None:
    store = f"file://{tmp_path}/store/compass-1"
    assert tidegate("push", "parent", store).code == 0

    assert _tuned(tidegate, parent=store).code == 0
    assert read_bundle_dir(Path("child")).manifest.lineage == Lineage((parent,), "fine-tuned")


def test_diff_shows_which_layers_tuning_moved_and_which_stayed(tidegate: Any, parent: str) -> None:
    _tuned(tidegate)

    layers = json.loads(tidegate("diff", "parent", "child", "-o", "json").out)["layers"]

    moved = {row["name"]: row["relative"] for row in layers}
    assert set(moved) == {"coefficient1", "intercepts1"}
    assert all(0 < change < 1 for change in moved.values())


def test_another_interface_is_told_as_diff_tells_it(tidegate: Any, parent: str) -> None:
    ended = _tuned(tidegate, "wider")

    rule = "input 'input', dimension 1: was 4 and is 5"
    assert ended.code == 0
    assert f"warning: a rollout from parent would be refused (InterfaceChanged): {rule}" in ended.err
    assert rule in tidegate("diff", "parent", "child").out


def test_other_labels_are_told_as_diff_tells_them(tidegate: Any, parent: str) -> None:
    Path("labels.txt").write_text("north\nsouth\neast\nwest\n")

    ended = _tuned(tidegate)

    assert "(InterfaceChanged): label 1 was 'east' and is 'south'" in ended.err


def test_a_parent_that_is_none_is_refused_before_anything_runs(tidegate: Any, parent: str) -> None:
    Path("net.py").write_text("open('ran', 'w')\n" + TRAINING)

    ended = _tuned(tidegate, parent="nowhere")

    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1
    assert "nowhere" in ended.err
    assert not Path("ran").exists()
    assert not Path("child").exists()


def test_from_python_a_parent_is_a_bundle_or_its_address(tidegate: Any, parent: str) -> None:
    import tidegate as library

    parents: tuple[library.Bundle | str, ...] = (library.inspect("parent"), "parent")
    for number, given in enumerate(parents):
        child = library.pack("net.py:tuned", name="compass", version="2", out=f"child{number}", parent=given)
        assert child.manifest.lineage == Lineage((parent,), "fine-tuned")
