"""Telling formats by their content: no framework is installed for it, and no name is believed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tidegate.author.extras import MissingExtra
from tidegate.author.recognise import kind_of_file, kind_of_folder, kind_of_value
from tidegate.author.source import load
from tidegate.errors import Failed


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89HDF\r\n\x1a\n", "keras"),
        (b"\x1c\0\0\0TFL3\x14\0", "tflite"),
        (b'{"learner":{"attributes":{}}}', "xgboost"),
        (b"{L\0\0\0\0\0\0\0\x07learner{L", "xgboost"),
        (b"binf\0\0", "xgboost"),
        (b"tree\nversion=v4\n", "lightgbm"),
        (b"CBM1\xc0D\0\0", "catboost"),
        (b'\x40\0\0\0\0\0\0\0{"weight":{}}', "safetensors"),
        (b"\n\x12\n\x01x\x12\x0bPlaceholder", "frozen-graph"),
        (b"\n\x92\x02\n\x01x\x12\x0bPlaceholder", "frozen-graph"),
        (b"\x80\x04\x95", "pickle"),
        (b"\x78\x9c\x00", "pickle"),
        (b"\x08\x0a\x12\x07pytorch", "onnx"),
        (b"anything else", "onnx"),
        (b"", "onnx"),
    ],
)
def test_a_file_is_known_by_its_first_bytes(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "model.onnx").write_bytes(content)

    assert kind_of_file(tmp_path / "model.onnx") == kind


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["m/archive_format", "m/models/model.json"], "torch-exported"),
        (["serialized_exported_program.json"], "torch-exported"),
        (["m/data.pkl", "m/code/__torch__.py"], "torchscript"),
        (["m/data.pkl", "m/data/0"], "torch-pickle"),
        (["config.json", "model.weights.h5"], "keras"),
        (["schema.json", "1.npy"], "skops"),
        (["photo.png"], "zip"),
    ],
)
def test_a_zip_is_known_by_the_names_in_it(tmp_path: Path, names: list[str], kind: str) -> None:
    with zipfile.ZipFile(tmp_path / "model", "w") as archive:
        for name in names:
            archive.writestr(name, "")

    assert kind_of_file(tmp_path / "model") == kind


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("MLmodel", "flavors: {}", "mlflow"),
        ("saved_model.pb", "", "saved-model"),
        ("config.json", json.dumps({"model_type": "bert"}), "huggingface"),
        ("config.json", json.dumps({"other": 1}), ""),
        ("config.json", "not JSON", ""),
        ("notes.txt", "", ""),
    ],
)
def test_a_folder_is_known_by_its_files(tmp_path: Path, name: str, content: str, kind: str) -> None:
    (tmp_path / name).write_text(content)

    assert kind_of_folder(tmp_path) == kind


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        ("torch.nn.modules.linear", "torch-module"),
        ("torch.export.exported_program", "torch-exported"),
        ("torch.jit._script", "torchscript"),
        ("keras.src.models.sequential", "keras"),
        ("flax.nnx.module", "jax"),
        ("equinox._module._module", "jax"),
        ("jaxlib._jax", "jax"),
        ("xgboost.core", "xgboost"),
        ("xgboost.sklearn", "estimator"),
        ("torchvision.models", "estimator"),
    ],
)
def test_an_object_is_known_by_where_its_class_was_defined(module: str, kind: str) -> None:
    parent = type("Parent", (), {"__module__": module})

    assert kind_of_value(type("Own", (parent,), {"__module__": "train"})()) == kind


def test_a_zip_of_a_version_that_is_not_known_is_damaged(tmp_path: Path, entries_with: Any) -> None:
    with zipfile.ZipFile(tmp_path / "model", "w") as archive:
        archive.writestr("schema.json", "")
    entries_with(tmp_path / "model", 6, 255)

    assert kind_of_file(tmp_path / "model") == "damaged-zip"


@pytest.mark.parametrize(
    ("content", "extra"),
    [(b'{"learner":{}}', "xgboost"), (b"tree\nversion=v4\n", "lightgbm"), (b"CBM1\0\0\0\0", "catboost")],
)
def test_what_needs_a_framework_that_is_not_here_names_its_extra_and_the_way_without(
    packed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, extra: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, extra, None)
    (tmp_path / "model").write_bytes(content)

    with pytest.raises(MissingExtra, match=rf"pip install 'tidegate\[{extra}\]', or .* --isolated"):
        packed(tmp_path / "model")


def test_weights_alone_are_refused_with_what_to_do(packed: Any, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"\x40\0\0\0\0\0\0\0{}")

    with pytest.raises(Failed, match="weights without a model"):
        packed(tmp_path / "model")


def test_a_model_that_a_script_names_is_taken_as_it_is_and_not_called(tmp_path: Path) -> None:
    script = tmp_path / "graph.py"
    script.write_text(
        "class Function:\n    __module__ = 'onnxscript.values'\n    def __call__(self, x): ...\n\nf = Function()\n"
    )

    found = load(f"{script}:f", trust_pickle=False)

    assert found.kind == "onnxscript"
    assert type(found.value).__name__ == "Function"
