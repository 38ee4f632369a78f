"""What a Hugging Face folder lacks is told before transformers is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate.author.frameworks.huggingface import read_config
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
