"""Models in ONNX Runtime's own format: proved by the bundle's golden samples, with what a small build must know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tests.runtime.small_bundles import WEIGHTS, linear, linear_samples, write_bundle

from tidegate.author import export as exporting
from tidegate.bundle.encryption import encrypt, generate_identity
from tidegate.bundle.golden import read_samples
from tidegate.bundle.manifest import read_bundle_dir

NAMED = ("--name", "digits", "--version", "1")


def test_the_model_runs_in_its_own_format_and_its_operators_are_listed(tidegate: Any, script: Path) -> None:
    tidegate("pack", "train.py:model", "-o", "bundle", *NAMED)

    ended = tidegate("export", "bundle", "--ort", "-o", "mobile", "--output", "json")

    document, bundle = json.loads(ended.out), read_bundle_dir(Path("bundle"))
    assert sorted(path.name for path in Path("mobile").iterdir()) == [
        "export.json",
        "model.ort",
        "required_operators_and_types.config",
    ]
    assert (document["samples"], {row["output"] for row in document["outputs"]}) == (8, {"label", "probabilities"})
    assert json.loads(Path("mobile/export.json").read_text())["bundle"] == bundle.digest
    listed = Path("mobile/required_operators_and_types.config").read_text()
    assert "LinearClassifier" in listed
    assert str(Path.cwd()) not in listed
    assert Path("mobile/model.ort").read_bytes()[4:8] == b"ORTM"
    sample = read_samples(bundle)[0]
    session = onnxruntime.InferenceSession("mobile/model.ort", providers=["CPUExecutionProvider"])
    [found] = session.run(["probabilities"], dict(sample.inputs))
    np.testing.assert_allclose(found, sample.outputs["probabilities"], rtol=1e-4)


def test_an_encrypted_bundle_is_exported_with_its_key(tidegate: Any, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", linear(), linear_samples(), version="v1")
    generate_identity(tmp_path / "age.key", tmp_path / "age.pub")
    encrypt(folder, tmp_path / "sealed", [(tmp_path / "age.pub").read_text()])

    blind = tidegate("export", "sealed", "--ort", "-o", "blind")
    seeing = tidegate("export", "sealed", "--ort", "-o", "seeing", "--identity", "age.key")

    assert (blind.code, "is encrypted" in blind.err, seeing.code) == (1, True, 0)


def test_an_export_that_answers_otherwise_is_refused_and_leaves_nothing(
    tidegate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "bundle", linear(), linear_samples(), version="v1")
    other = write_bundle(tmp_path / "other", linear(-WEIGHTS), linear_samples(), version="v2")
    save = exporting._save
    monkeypatch.setattr(exporting, "_save", lambda _, target: save(read_bundle_dir(other), target))

    ended = tidegate("export", "bundle", "--ort", "-o", "mobile")

    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "model.ort, golden sample 0: output" in ended.err
    assert not Path("mobile").exists()
    assert not list(tmp_path.glob(".mobile*"))


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("bundle", "--ort", "-o", "bundle"), 1, "is there already"),
        (("blank", "--ort", "-o", "mobile"), 1, "has no golden samples"),
        (("absent", "--ort", "-o", "mobile"), 1, "no such file"),
        (("bundle", "-o", "mobile"), 2, "say --ort"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(
    tidegate: Any, tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    write_bundle(tmp_path / "bundle", linear(), linear_samples(), version="v1")
    write_bundle(tmp_path / "blank", linear(), [], version="v1")

    ended = tidegate("export", *arguments)

    assert (ended.code, ended.err.count("\n")) == (code, 1), ended.err
    assert says in ended.err
    assert not Path("mobile").exists()
