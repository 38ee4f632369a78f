"""What every derived bundle has in common: lineage, shared files, and golden samples that weigh little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import helper
from tests.unit.author.derive.conftest import bundle_of, layers, model_of, weight

from tidegate.author import GoldenRequest
from tidegate.author.derive.extracting import Extract
from tidegate.author.packing import Packed


def picture_model(width: int) -> Any:
    """A large input on a small model: golden samples are most of the bundle."""
    nodes = [
        helper.make_node("MatMul", ["pixels", "weight"], ["features"]),
        helper.make_node("Relu", ["features"], ["y"]),
    ]
    return model_of(nodes, [("pixels", ["batch", width])], [("y", ["batch", 2])], {"weight": weight(width, 2)})


def test_golden_samples_weigh_little_beside_what_is_new(derived: Any, tmp_path: Path) -> None:
    base = bundle_of(picture_model(30_000), tmp_path / "pictures", golden=GoldenRequest(count=2)).bundle

    result = derived(Extract(outputs=("features",)), of=base.path)

    golden = [file.bytes for file in result.bundle.manifest.files if file.path.startswith("golden/")]
    assert len(golden) == 1
    assert "golden samples are few" in result.notes[0]


def test_small_inputs_have_as_many_samples_as_always(derived: Any) -> None:
    result = derived(Extract(outputs=("hidden",)))

    assert len(result.bundle.manifest.golden.files) == 8
    assert result.notes == ()


def test_a_license_is_inherited_and_a_name_can_be_another(derived: Any, tmp_path: Path) -> None:
    base = bundle_of(layers(), tmp_path / "free", license="Apache-2.0").bundle.path

    manifest = derived(Extract(outputs=("hidden",)), of=base, name="features").bundle.manifest

    assert (manifest.license, manifest.name, manifest.version) == ("Apache-2.0", "features", "2")


def test_deriving_twice_gives_the_same_digest(derived: Any) -> None:
    first, second = (derived(Extract(outputs=("hidden",))).bundle.digest for _ in range(2))

    assert first == second


def test_the_parent_is_only_read(derived: Any, backbone: Packed) -> None:
    before = sorted(path.name for path in backbone.bundle.path.rglob("*"))

    derived(Extract(outputs=("hidden",)))

    assert sorted(path.name for path in backbone.bundle.path.rglob("*")) == before


def test_a_bundle_that_is_none_is_refused(derived: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(Exception, match=r"bundle\.yaml"):
        derived(Extract(outputs=("hidden",)), of=tmp_path / "empty")
