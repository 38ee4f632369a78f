"""What a Hugging Face folder lacks is told before transformers is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate.author.frameworks.huggingface import _prepared_size, read_config
from tidegate.author.recognise import kind_of_folder
from tidegate.errors import Invalid

BERT = {"model_type": "bert", "architectures": ["BertModel"]}


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def write(config: dict[str, Any], *files: str) -> Path:
        (tmp_path / "config.json").write_text(json.dumps(config))
        for name in files:
            (tmp_path / name).write_bytes(b"")
        return tmp_path

    return write


@pytest.mark.parametrize("weights", ["model.safetensors", "model.safetensors.index.json"])
def test_a_whole_folder_is_recognised_and_read(folder: Callable[..., Path], weights: str) -> None:
    path = folder(BERT, weights)

    assert kind_of_folder(path) == "huggingface"
    assert read_config(path)["architectures"] == ["BertModel"]


@pytest.mark.parametrize(
    ("config", "files", "told"),
    [
        ({"model_type": "bert"}, ["model.safetensors"], "which class the model is"),
        (BERT | {"auto_map": {"AutoModel": "modeling.Net"}}, ["model.safetensors"], "which is not run"),
        (BERT, ["pytorch_model.bin"], r"its weights are a pickle \(pytorch_model.bin\)"),
        (BERT, [], "there is no model.safetensors in it"),
    ],
)
def test_what_is_missing_is_named(
    folder: Callable[..., Path], config: dict[str, Any], files: list[str], told: str
) -> None:
    with pytest.raises(Invalid, match=told):
        read_config(folder(config, *files))


def test_a_configuration_nested_too_deeply_makes_no_model_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)

    assert kind_of_folder(tmp_path) == ""


@pytest.mark.parametrize(
    ("content", "size"),
    [
        ('{"size": {"height": 32, "width": 48}}', (32, 48)),
        ('{"size": {"shortest_edge": 64}}', 64),
        ('{"size": 96}', 96),
        ('{"crop_size": 10, "size": 96}', 10),
        ("{}", None),
    ],
)
def test_the_size_of_pictures_is_read(tmp_path: Path, content: str, size: Any) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content)

    assert _prepared_size(tmp_path) == size


@pytest.mark.parametrize(
    "content",
    ["{", "[" * 100_000, "[1]", '{"size": "large"}', '{"size": {"height": 4}}', '{"size": -1}', '{"size": 1e999}'],
)
def test_what_says_no_size_of_pictures_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content)

    with pytest.raises(Invalid, match=r"preprocessor_config\.json: it does not say .* or remove it"):
        _prepared_size(tmp_path)
