"""derive as a user meets it: what it prints, how each error ends, and that Ctrl-C leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.waiting import wait_until

from tidegate.bundle.manifest import read_bundle_dir

NEXT = ("-o", "next", "--version", "2")
HEAD = ("--head", "logistic", "--features", "probabilities")

SLOW = """
def model():
    open("began", "w").close()
    open("never").read()
"""


@pytest.fixture
def base(tidegate: Any, script: Path) -> str:
    """A bundle of four classes."""
    assert tidegate("pack", "train.py:model", "-o", "base", "--name", "shapes", "--version", "1").code == 0
    return "base"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.npz"
    np.savez(path, X=np.eye(4, dtype=np.float32).repeat(5, axis=0), y=np.arange(4).repeat(5) % 2)
    return path


def test_derive_quietly_prints_the_digest_and_nothing_else(tidegate: Any, base: str) -> None:
    ended = tidegate("derive", base, *NEXT, "--outputs", "probabilities", "--quiet")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.strip() == read_bundle_dir(Path("next")).digest


def test_a_head_is_trained_measured_and_told(tidegate: Any, base: str, rows: Path) -> None:
    ended = tidegate("derive", base, *NEXT, *HEAD, "--data", "rows.npz", "--labels", "y")

    assert ended.code == 0
    assert "accuracy 1.0000  (4 rows of rows.npz, held out)" in ended.out
    assert "note: trained on 16 rows of 'probabilities'" in ended.err


def test_labels_in_a_file_of_their_own_do_not_judge_other_rows(tidegate: Any, base: str, rows: Path) -> None:
    np.save("right.npy", np.arange(4).repeat(5) % 2)
    np.savez("other.npz", X=np.eye(4, dtype=np.float32).repeat(5, axis=0)[::-1])
    asked = (*HEAD, "--data", "other.npz", "--labels", "right.npy")

    assert tidegate("derive", base, "-o", "alone", "--version", "2", *asked).code == 0
    ended = tidegate("derive", base, *NEXT, *asked, "--test", "other.npz")

    assert (ended.code, Path("next").exists()) == (2, False)
    assert "right.npy says what is right for the rows of --data, not for those of --test" in ended.err


def test_a_column_of_labels_may_be_called_like_a_file(tidegate: Any, base: str, rows: Path) -> None:
    Path("y").touch()
    np.savez("other.npz", X=np.eye(4, dtype=np.float32), y=np.arange(4) % 2)

    ended = tidegate("derive", base, *NEXT, *HEAD, "--data", "rows.npz", "--labels", "y", "--test", "other.npz")

    assert (ended.code, "(4 rows of other.npz)" in ended.out) == (0, True), ended.err


def test_derive_as_json_has_what_was_compared(tidegate: Any, base: str) -> None:
    ended = tidegate("derive", base, *NEXT, "--outputs", "probabilities", "--output", "json")

    assert json.loads(ended.out)["parity"]["extracted"]["mismatchedRows"] == 0


def _weight(folder: str, name: str) -> Any:
    tensors = onnx.load(f"{folder}/model.onnx").graph.initializer
    return next(onnx.numpy_helper.to_array(tensor) for tensor in tensors if tensor.name == name)


def test_diff_shows_lineage_and_how_much_each_layer_changed(tidegate: Any, base: str, rows: Path) -> None:
    digest = tidegate("inspect", base, "-q").out.strip()
    first = ("--features", "probabilities", "--data", "rows.npz", "--labels", "y")
    tidegate("derive", base, "-o", "one", "--version", "1", "--head", "mlp", *first)
    weights = {"coefficient": 1.5 * _weight("one", "coefficient")}
    np.savez("new.npz", **weights)
    tidegate("derive", "one", *NEXT, "--weights", "new.npz")

    table = [line.split() for line in tidegate("diff", base, "one").out.splitlines()]
    assert ["lineage", "-", "new-head", "of", digest] in table
    assert ["coefficient", "FP32", "[4,", "64]", "new"] in table
    table = [line.split() for line in tidegate("diff", "one", "next").out.splitlines()]
    assert ["coefficient", "FP32", "[4,", "64]", "changed", "by", "50.00%", "of", "its", "norm"] in table
    layers = json.loads(tidegate("diff", "one", "next", "-o", "json").out)["layers"]
    assert [(row["name"], round(row["relative"], 6)) for row in layers] == [("coefficient", 0.5)]


def test_inspect_lists_every_tensor_that_derive_can_name(tidegate: Any, base: str) -> None:
    table = [line.split() for line in tidegate("inspect", base, "--tensors").out.splitlines()]
    document = json.loads(tidegate("inspect", base, "--tensors", "-o", "json").out)

    assert ["input", "input", "FP32", "[batch,", "4]"] in table
    assert "probabilities" in {row["name"] for row in document["tensors"]}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "nothing is to be done"),
        (("--outputs", "probabilities", *HEAD), 2, "--outputs and --head at once"),
        (("--outputs", "probabilities", "--features", "label"), 2, "features for what?"),
        (("--outputs", "probabilities", "--test", "rows.npz"), 2, "rows for what?"),
        (("--outputs", "probability"), 1, "near are probabilities"),
        (HEAD, 2, "rows and what is right for each"),
        ((*HEAD, "--data", "rows.npz"), 2, "rows and what is right for each"),
        ((*HEAD, "--data", "rows.npz", "--labels", "z"), 1, "there are no labels 'z'"),
        ((*HEAD, "--data", "absent.npz", "--labels", "y"), 1, "no such file"),
        (("--weights", "absent.npz"), 1, "no such file"),
        (("--weights", "rows.npz"), 1, "2 of 2 keys do not fit"),
        (("--join", "absent"), 1, "it has 2 outputs (label, probabilities)"),
        (("--join", "absent", "--features", "probabilities"), 1, "absent"),
        (("--compose", "probabilities", "absent:x"), 2, "names no bundle and tensor"),
        (("--compose", "probabilities", "base:probabilities"), 1, "nothing lies between"),
        (("--before", "absent.onnx"), 2, "no such file"),
        (("--before", "train.py:broken"), 1, "broken() failed"),
        (("--outputs", "probabilities", "--name", "a b"), 1, "cannot be a name"),
    ],
)
def test_each_fault_ends_in_one_sentence_and_leaves_nothing(
    tidegate: Any, base: str, rows: Path, *, options: tuple[str, ...], code: int, message: str
) -> None:
    ended = tidegate("derive", base, *NEXT, *options)

    assert ended.code == code
    assert message in ended.err
    assert len(ended.err.splitlines()) == 1
    assert sorted(path.name for path in Path().iterdir()) == ["base", "rows.npz", "train.py"]


def test_a_folder_that_is_there_already_is_refused_before_anything_is_read(tidegate: Any, base: str) -> None:
    ended = tidegate("derive", base, "-o", base, "--version", "2", "--weights", "absent.npz")

    assert ended.code == 1
    assert "it exists already" in ended.err


def test_a_parent_that_was_damaged_is_refused(tidegate: Any, base: str) -> None:
    graph = Path(base, "model.onnx")
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")

    ended = tidegate("derive", base, *NEXT, "--outputs", "probabilities")

    assert ended.code == 1
    assert "model.onnx" in ended.err


def test_ctrl_c_leaves_no_half_bundle(tidegate: Any, base: str, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    os.mkfifo(tmp_path / "never")
    before = sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / "scratch").mkdir()
    command = [sys.executable, "-m", "tidegate", "derive", base, *NEXT, "--before", "slow.py:model"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path / "scratch")}, stderr=subprocess.PIPE
    )
    try:
        wait_until(lambda: (tmp_path / "began").exists() or process.poll() is not None, "it calls the function", 60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()

    assert (process.returncode, err.strip()) == (130, b"")
    assert list((tmp_path / "scratch").iterdir()) == []
    left = {path.name for path in tmp_path.iterdir()} - {"began", "scratch", "__pycache__"}
    assert sorted(left) == before
