"""`tidegate pack --isolated`: what it installs, what it passes on, and that nothing of it stays."""

from __future__ import annotations

import gzip
import os
import pickle
import signal
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LinearRegression
from tests.author.conftest import PretendedUv
from tests.waiting import wait_until

from tidegate.author.needs import extra_of
from tidegate.bundle.verify import verify_dir
from tidegate.errors import Invalid, UsageError

NAMED = ("--name", "shapes", "--version", "1.0.0")


def test_the_model_is_packed_where_its_framework_is_and_nothing_stays(
    tidegate: Any, script: Path, uv: PretendedUv
) -> None:
    ended = tidegate("pack", "train.py:model", "-o", "bundle", *NAMED, "--isolated", "--with", "polars", "-q")

    assert (ended.code, ended.out.strip()) == (0, verify_dir(Path("bundle")).digest)
    framework, further = (line.split() for line in uv.asked)
    assert framework[:2] == ["--require-hashes", "--requirements"]
    assert framework[2].endswith("/sklearn.txt")
    assert further == ["--constraints", framework[2], "polars"]
    assert list(uv.temporary.iterdir()) == []


@pytest.mark.usefixtures("script", "uv")
@pytest.mark.parametrize("source", ["train.py:model", "train:model"])
def test_modules_in_the_current_folder_take_no_part(tidegate: Any, tmp_path: Path, source: str) -> None:
    for name in ("numpy", "onnx"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")

    ended = tidegate("pack", source, "-o", "bundle", *NAMED, "--isolated")

    assert (ended.code, ended.err) == (0, "")
    assert not (tmp_path / "mark").exists()


@pytest.mark.usefixtures("script", "uv")
def test_how_the_command_ended_there_is_how_it_ends_here(tidegate: Any) -> None:
    ended = tidegate("pack", "train.py:broken", "-o", "bundle", *NAMED, "--isolated")

    assert ended.code == 1
    assert ended.err == "error: train.py: broken() failed: RuntimeError: no data today\n"


def test_an_installation_that_fails_is_one_sentence_and_leaves_nothing(
    tidegate: Any, script: Path, uv: PretendedUv
) -> None:
    uv.does("sys.exit('no such host')")

    ended = tidegate("pack", "train.py:model", "-o", "bundle", *NAMED, "--isolated")

    assert ended.code == 1
    assert "--isolated: uv could not install sklearn: no such host: look at the network" in ended.err
    assert list(uv.temporary.iterdir()) == []


def test_without_uv_the_extra_is_named(tidegate: Any, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "uv", None)

    ended = tidegate("pack", "train.py:model", "-o", "bundle", *NAMED, "--isolated")

    assert "pip install 'tidegate[isolated]'" in ended.err


def test_a_further_package_needs_an_environment(tidegate: Any, script: Path) -> None:
    ended = tidegate("pack", "train.py:model", "-o", "bundle", *NAMED, "--with", "polars")

    assert (ended.code, "add --isolated" in ended.err) == (2, True)


@pytest.mark.parametrize("when", ["installing", "packing"])
def test_ctrl_c_leaves_neither_an_environment_nor_half_a_bundle(
    script: Path, uv: PretendedUv, tmp_path: Path, when: str
) -> None:
    signs = tmp_path / "signs"
    wait = f"open({str(signs)!r}, 'w'); time.sleep(60)"
    uv.does(wait if when == "installing" else "pass")
    script.write_text(script.read_text() + f"\nimport time\ndef slow():\n    {wait}\n")
    command = [sys.executable, "-m", "tidegate", "pack", "train.py:slow", "-o", "bundle", *NAMED, "--isolated"]

    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE) as process:
        wait_until(signs.exists, "nothing was begun", 60)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=60)

    assert (process.returncode, told.strip()) == (130, b"")
    assert list(uv.temporary.iterdir()) == []
    assert not [path for path in tmp_path.iterdir() if "bundle" in path.name]


@pytest.mark.parametrize(
    ("imports", "extra"),
    [
        ("import sklearn.linear_model", "sklearn"),
        ("from sklearn import svm\nimport xgboost as xgb", "xgboost"),
        ("def model():\n    import torch", "torch"),
        ("import torch, transformers", "huggingface"),
        ("from . import sibling\nimport keras", "tensorflow"),
        ("import math", "sklearn"),
    ],
)
def test_the_extra_is_told_from_what_a_script_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imports: str, extra: str
) -> None:
    (tmp_path / "train.py").write_text(imports)
    monkeypatch.chdir(tmp_path)

    assert extra_of("train.py:model") == extra_of("train:model") == extra


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zlib.compress])
def test_the_extra_is_told_from_the_names_in_a_pickle_which_is_not_run(tmp_path: Path, pack: Any) -> None:
    bomb = pickle.dumps(LinearRegression(), protocol=4)
    (tmp_path / "model").write_bytes(pack(bomb.replace(b"sklearn.linear_model", b"xgboost.linear_model")))

    assert extra_of(str(tmp_path / "model")) == "xgboost"


@pytest.mark.parametrize(
    "content", [b"\x80\x02cxgboost.sklearn\nXGBRegressor\n", b"\x80\x04\x8c\x32xgboost." + b"long" * 10 + b"er"]
)
def test_a_name_in_a_pickle_is_found_right_behind_an_opcode_or_a_length(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model").write_bytes(content)

    assert extra_of(str(tmp_path / "model")) == "xgboost"


def test_a_skops_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model", "w") as archive:
        archive.writestr("schema.json", "{}")
    (tmp_path / "model").write_bytes((tmp_path / "model").read_bytes().replace(b"{}", b"{]"))

    with pytest.raises(Invalid, match="it is damaged"):
        extra_of(str(tmp_path / "model"))


def test_the_extra_of_an_mlflow_folder_is_that_of_the_model_in_it(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {lightgbm: {data: model.lgb}, python_function: {}}")
    (tmp_path / "model.lgb").write_text("tree\nversion=v4\n")

    assert extra_of(str(tmp_path)) == "lightgbm"


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("import torch, xgboost", UsageError, "it needs torch and xgboost, an isolated environment has one"),
        ("import (", Invalid, "cannot be read as Python"),
    ],
)
def test_a_script_that_tells_nothing_is_refused(tmp_path: Path, content: str, error: Any, message: str) -> None:
    (tmp_path / "train.py").write_text(content)

    with pytest.raises(error, match=message):
        extra_of(f"{tmp_path}/train.py:model")


@pytest.mark.parametrize("source", ["nothing", "nothing.py:model", "no.such:model"])
def test_a_source_that_is_not_there_is_refused(source: str) -> None:
    with pytest.raises(UsageError, match="no such file"):
        extra_of(source)


def test_a_pickle_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(gzip.compress(pickle.dumps(LinearRegression()))[:-9])

    with pytest.raises(Invalid, match="it is damaged"):
        extra_of(str(tmp_path / "model"))
