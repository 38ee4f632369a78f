"""Keras files before Keras reads them: damage, Lambda layers, weights without a model; and its errors in a sentence."""

from __future__ import annotations

import contextlib
import json
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tidegate.author.extras import MissingExtra
from tidegate.author.frameworks.keras import _require_backend, _unreadable
from tidegate.author.frameworks.keras_files import (
    KerasFile,
    LambdaRefused,
    lambda_layers,
    read_architecture,
    read_keras_file,
)
from tidegate.errors import Failed, Invalid

DENSE = {"class_name": "Dense", "config": {"name": "dense"}}
LAMBDA = {"class_name": "Lambda", "config": {"name": "double", "function": {"class_name": "__lambda__", "config": {}}}}


def _keras(path: Path, *layers: Any) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": layers}}))
        archive.writestr("model.weights.h5", b"\x89HDF\r\n")
    return path


def test_a_file_tells_its_version_and_its_layers(tmp_path: Path) -> None:
    file = read_keras_file(_keras(tmp_path / "named.anything", DENSE))

    assert (file.version, file.suffix, file.config["config"]["layers"]) == ("3.15.1", ".keras", [DENSE])


def test_a_file_with_lambda_layers_is_refused_before_keras_reads_it(packed: Any, tmp_path: Path) -> None:
    source = _keras(tmp_path / "model.keras", DENSE, {"class_name": "Sequential", "config": {"layers": [LAMBDA]}})

    with pytest.raises(LambdaRefused, match=r"double are Lambdas.*--trust-lambda"):
        packed(source)


def test_a_trusted_file_with_lambda_layers_goes_on_to_keras(packed: Any, tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r"tidegate\[tensorflow\]"):
        packed(_keras(tmp_path / "model.keras", LAMBDA), trust_lambda=True)


def test_a_lambda_function_without_a_layer_of_its_own_is_found() -> None:
    config = {"class_name": "Dense", "config": {"name": "d", "activation": {"class_name": "__lambda__", "config": {}}}}

    assert list(lambda_layers(config)) == [""]


def test_a_cut_off_file_is_named_as_such(packed: Any, tmp_path: Path) -> None:
    source = _keras(tmp_path / "model.keras", DENSE)
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("model.weights.h5", b"")

    with pytest.raises(Invalid, match=r"model\.keras: this Keras file is damaged or cut off: .*config\.json"):
        packed(source)


def test_a_configuration_that_is_no_json_is_named_as_such(packed: Any, tmp_path: Path) -> None:
    source = tmp_path / "model.keras"
    with zipfile.ZipFile(source, "w") as archive:
        for name in ("config.json", "metadata.json", "model.weights.h5"):
            archive.writestr(name, b"{")

    with pytest.raises(Invalid, match="damaged or cut off"):
        packed(source)


def test_a_configuration_nested_too_deeply_is_named_as_damage(packed: Any, tmp_path: Path) -> None:
    source = tmp_path / "model.keras"
    with zipfile.ZipFile(source, "w") as archive:
        for name in ("config.json", "metadata.json", "model.weights.h5"):
            archive.writestr(name, b"[" * 100_000)

    with pytest.raises(Invalid, match="damaged or cut off"):
        packed(source)


@pytest.mark.parametrize(("place", "value", "told"), [(8, 1, "encrypted"), (10, 99, "compression")])
def test_a_file_that_zip_cannot_read_is_named_with_the_reason(
    packed: Any, tmp_path: Path, entries_with: Any, place: int, value: int, told: str
) -> None:
    with pytest.raises(Invalid, match=f"damaged or cut off: .*{told}"):
        packed(entries_with(_keras(tmp_path / "model.keras", DENSE), place, value))


@pytest.mark.parametrize("config", ["{", "[" * 100_000, "[]", b"\xff"])
def test_an_h5_file_whose_configuration_is_damaged_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Any
) -> None:
    opened = contextlib.nullcontext(SimpleNamespace(attrs={"model_config": config, "keras_version": "3.15.1"}))
    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=lambda *_: opened))
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")

    with pytest.raises(Invalid, match=r"model\.h5: this Keras file is damaged or cut off"):
        read_keras_file(tmp_path / "model.h5")


def test_lambda_layers_are_found_however_deeply_they_lie() -> None:
    config: Any = LAMBDA
    for _ in range(5000):
        config = {"config": [config]}

    assert list(lambda_layers(config)) == ["double", ""]


def test_an_h5_file_names_the_extra_that_reads_it(packed: Any, tmp_path: Path) -> None:
    source = tmp_path / "model.h5"
    source.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))

    with pytest.raises(MissingExtra, match=r"h5py.*tidegate\[tensorflow\]"):
        packed(source)


def test_json_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text('{"learning_rate": 1}')

    with pytest.raises(Invalid, match=r"not what model\.to_json\(\) writes"):
        read_architecture(path)


def test_another_version_of_keras_is_named_with_what_to_install(tmp_path: Path) -> None:
    file = KerasFile(tmp_path / "model.keras", {}, ".keras", "3.99.0")

    error = _unreadable(file, "3.15.1", "unexpected keyword 'quantum'")

    assert error.reason == "VersionMismatch"
    assert "Keras 3.15.1 cannot read what Keras 3.99.0 wrote" in str(error)
    assert "pip install 'keras==3.99.0'" in str(error)


@pytest.mark.parametrize("reason", ["Could not locate class 'Pulse'. Make sure", "Unknown layer: 'Pulse'. Please"])
def test_a_class_of_the_users_own_is_named(tmp_path: Path, reason: str) -> None:
    error = _unreadable(KerasFile(tmp_path / "model.keras", {}, ".keras", "3.15.1"), "3.15.1", reason)

    assert "it needs the class Pulse, which is not part of Keras" in str(error)


def test_a_model_on_another_backend_is_refused_with_the_way_round() -> None:
    keras = SimpleNamespace(backend=SimpleNamespace(backend=lambda: "torch"))

    with pytest.raises(Failed, match=r"Keras runs on torch.*model\.save\('model\.keras'\).*new process") as caught:
        _require_backend(keras)

    assert caught.value.reason == "WrongBackend"


def test_a_factory_finds_keras_on_tensorflow_whatever_the_environment_says(
    packed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    script = tmp_path / "train.py"
    script.write_text("import os\n\ndef model():\n    raise ValueError('on ' + os.environ['KERAS_BACKEND'])\n")

    with pytest.raises(Failed, match="on tensorflow"):
        packed(f"{script}:model")
