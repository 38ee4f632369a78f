"""New weights in the same graph: checked key by key, and told what stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.unit.author.derive.conftest import answers, bundle_of, layers, weight

from tidegate.author import DataSet
from tidegate.author.derive.new_weights import NewWeights, read_weights
from tidegate.errors import Invalid

NEW = {"first": weight(4, 6, seed=8), "second": weight(6, 3, seed=9)}
ROWS = weight(5, 4, seed=7)
MOST = 1 << 20


@pytest.fixture(params=["npz", "safetensors"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Save arrays in either format; names say nothing about it."""

    def save(**arrays: Any) -> Path:
        path = tmp_path / "weights"
        if request.param == "npz":
            with path.open("wb") as file:
                np.savez(file, **arrays)
        else:
            save_file(arrays, path)
        return path

    return save


def test_the_graph_answers_by_its_new_weights(derived: Any, saved: Any) -> None:
    result = derived(NewWeights(saved(**NEW)))

    (found,) = answers(result.bundle.path, x=ROWS)
    assert found == pytest.approx(np.maximum(ROWS @ NEW["first"], 0) @ NEW["second"], abs=1e-4)
    assert result.bundle.manifest.lineage.action == "new-weights"
    assert not result.notes


def test_weights_that_stay_are_told(derived: Any, saved: Any) -> None:
    result = derived(NewWeights(saved(second=NEW["second"])))

    assert result.notes == ("1 of 2 weights stay as they are: first",)


def test_every_key_that_does_not_fit_is_named(derived: Any, saved: Any, tmp_path: Path) -> None:
    path = saved(secnd=NEW["second"], first=np.zeros((6, 4), np.float32), second=np.zeros((6, 3), np.float64))

    with pytest.raises(Invalid) as caught:
        derived(NewWeights(path))

    assert "3 of 3 keys do not fit" in caught.value.what
    assert "'secnd' is no tensor of the graph (near: 'second')" in caught.value.what
    assert "'first' is [6, 4], the graph has [4, 6]" in caught.value.what
    assert "'second' is float64, the graph has float" in caught.value.what
    assert not list(tmp_path.glob("*derived*"))


def test_labels_stay_with_the_classes_they_name(derived: Any, saved: Any, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    named = bundle_of(layers(), tmp_path / "named", files=(labels,)).bundle.path

    result = derived(NewWeights(saved(**NEW)), of=named)

    assert (result.bundle.path / "labels.txt").read_text() == "a\nb\nc\n"


def test_new_weights_are_measured_on_data(derived: Any, saved: Any, blobs: DataSet) -> None:
    assert "accuracy" in derived(NewWeights(saved(**NEW)), data=blobs).bundle.manifest.metric_values()


def test_types_of_neural_networks_are_read(tmp_path: Path) -> None:
    save_file({"w": np.ones((2, 2), ml_dtypes.bfloat16)}, tmp_path / "w")

    assert read_weights(tmp_path / "w", MOST)["w"].dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither npz nor safetensors"),
        (b"\x80\x04weights", "neither npz nor safetensors"),
        (b"PK\x03\x04 cut off", "cannot be read as npz"),
        (b"\x02\0\0\0\0\0\0\0{}", "there are no tensors in it"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "neither npz nor safetensors"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w").write_bytes(content)

    with pytest.raises(Invalid, match=message):
        read_weights(tmp_path / "w", MOST)


def test_python_objects_are_never_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", first=np.array([{"a": 1}], dtype=object))

    with pytest.raises(Invalid, match="cannot be read as npz: Object arrays cannot be loaded"):
        read_weights(tmp_path / "w.npz", MOST)


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
def test_weights_that_were_cut_off_are_refused(tmp_path: Path, kept: float) -> None:
    np.savez(tmp_path / "whole.npz", **NEW)
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "w").write_bytes(whole[: int(len(whole) * kept)])

    with pytest.raises(Invalid, match="cannot be read as npz"):
        read_weights(tmp_path / "w", MOST)


def test_weights_that_unpack_to_more_than_the_graph_can_take_are_not_unpacked(derived: Any, tmp_path: Path) -> None:
    many = np.zeros(8 << 20)
    np.savez_compressed(tmp_path / "bomb", first=many)
    save_file({"first": many}, tmp_path / "large")
    assert (tmp_path / "bomb.npz").stat().st_size < 100_000

    with pytest.raises(Invalid, match=r"it unpacks to 67,108,\d+ bytes, allowed are 1,048,912"):
        derived(NewWeights(tmp_path / "bomb.npz"))
    with pytest.raises(Invalid, match=r"it has 67,108,\d+ bytes, allowed for this graph are 1,048,912"):
        derived(NewWeights(tmp_path / "large"))
