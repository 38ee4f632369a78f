"""`tidegate optimize` as a user meets it: the table, the plot, the bundle, and how each error ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from tests.waiting import wait_until

from tidegate.author import GoldenRequest, PackRequest, pack
from tidegate.bundle.manifest import read_bundle_dir

AS_IN_A_TERMINAL = (
    "import signal, tidegate.cli.main\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job has it ignored
    "tidegate.cli.main.main()\n"
)
ASKED = ("-o", "small", "--version", "2", "--data", "test.npz", "--labels", "y", "--seconds", "0")


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles `net` and `linear`, and rows to judge them by."""
    folder = tmp_path_factory.mktemp("parents")
    random = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], 80)
    points = (random.standard_normal((240, 8)) + 2 * np.eye(8)[classes]).astype(np.float32)
    np.savez(folder / "test.npz", X=points, y=classes)
    for name, estimator in (
        ("net", MLPClassifier((32,), max_iter=400, tol=1e-3, random_state=0)),
        ("linear", LogisticRegression()),
    ):
        pack(estimator.fit(points, classes), PackRequest(folder / name, name, "1", golden=GoldenRequest(count=2)))
    return folder


@pytest.fixture
def here(parents: Path, tidegate: Any, tmp_path: Path) -> Path:
    """The same in the folder that the command runs in."""
    shutil.copytree(parents, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_the_table_has_size_accuracy_and_latency_of_both(tidegate: Any, here: Path) -> None:
    ended = tidegate("optimize", "net", *ASKED, "--int8", "dynamic")

    heads, parent, variant, *said = ended.out.splitlines()
    assert ended.code == 0, ended.err
    assert heads.split() == [
        *("VARIANT", "SIZE", "ACCURACY", "95", "%", "INTERVAL", "LOST", "95", "%", "INTERVAL"),
        *("1", "ROW", "SPEED", "64", "ROWS", "SPEED"),
    ]
    assert parent.startswith("parent")
    assert variant.startswith("int8 dynamic")
    assert "judged   192 rows of test.npz" in said
    assert any("48 of the 240 rows were set aside to learn from" in line for line in said)
    assert f"digest   {read_bundle_dir(Path('small')).digest}" in said


def test_quietly_it_prints_the_digest_and_nothing_else(tidegate: Any, here: Path) -> None:
    ended = tidegate("optimize", "net", *ASKED, "--graph", "--quiet")

    assert ended.out.strip() == read_bundle_dir(Path("small")).digest


def test_json_has_every_figure_with_its_interval(tidegate: Any, here: Path) -> None:
    document = json.loads(tidegate("optimize", "net", *ASKED, "--fp16", "--output", "json").out)

    parent, variant = document["variants"]
    assert document["apiVersion"] == "tidegate.io/cli/v1"
    assert variant["name"] == "fp16"
    assert variant["interval"][0] <= variant["value"] <= variant["interval"][1]
    assert variant["dropInterval"][0] <= variant["drop"] <= variant["dropInterval"][1]
    assert parent["latencies"][1]["rows"] == 64


@pytest.mark.parametrize("name", ["plot.svg", "plot.html"])
def test_the_plot_shows_every_variant(tidegate: Any, here: Path, name: str) -> None:
    tidegate("optimize", "net", *ASKED, "--prune", "0.5", "--max-accuracy-drop", "1", "--plot", f"plots/{name}")

    drawn = Path("plots", name).read_text()
    assert drawn.count("<svg") == 1
    assert "pruned 50%" in drawn
    assert "the least that is allowed" in drawn


def test_the_diff_shows_lineage_and_accepts_it(tidegate: Any, here: Path) -> None:
    tidegate("optimize", "net", *ASKED, "--int8", "static", "--max-accuracy-drop", "0.1")

    ended = tidegate("diff", "net", "small")

    assert f"quantized of {read_bundle_dir(Path('net')).digest}" in ended.out
    assert "rollout  accepted" in ended.out


def test_a_loss_beyond_the_limit_shows_the_table_and_makes_nothing(tidegate: Any, here: Path) -> None:
    Path("student.py").write_text(
        "from sklearn.linear_model import Ridge\ndef student():\n    return Ridge(alpha=1e9)\n"
    )

    ended = tidegate("optimize", "net", *ASKED, "--distill", "student.py:student", "--plot", "lost.svg")

    assert ended.code == 1
    assert "student" in ended.out
    assert "by more than the 0.01 that may be lost; no bundle was made" in ended.err
    assert not Path("small").exists()
    assert Path("lost.svg").exists()


@pytest.mark.parametrize(
    ("ref", "options", "code", "message"),
    [
        ("net", (), 2, "nothing is to be done"),
        ("net", ("--fp16", "--int8", "static"), 2, "a model has 16 bits or 8"),
        ("net", ("--graph", "--plot", "plot.png"), 2, "neither .svg nor .html"),
        ("net", ("--graph", "--labels", "absent"), 1, "there are no labels 'absent'"),
        ("net", ("--graph", "--labels", ""), 1, "there are no labels to judge accuracy by"),
        ("net", ("--graph", "--data", "absent.npz"), 1, "no such file"),
        ("net", ("--graph", "--data", "wide.npz"), 1, "it takes rows of [8], the data have [9]"),
        ("net", ("--graph", "--calibration", "wide.npz"), 1, "it takes rows of [8], the data have [9]"),
        ("net", ("--graph", "--data", "numbers.npz"), 1, "there is nothing to judge by"),
        ("net", ("--graph", "--version", "a b"), 1, "'a b' cannot be a version"),
        ("net", ("--graph", "-o", "linear"), 1, "it exists already"),
        ("net", ("--distill", "absent.py:student"), 2, "no such script"),
        ("linear", ("--int8", "static"), 1, "none of its operators can be quantized: it has"),
        ("linear", ("--int8", "dynamic"), 1, "none of its operators can be quantized: it has"),
        ("linear", ("--int8", "mixed"), 1, "none of its operators can be quantized: it has"),
        ("linear", ("--prune", "0.5"), 1, "no two layers in a row"),
        ("linear", ("--fp16",), 1, "no 32-bit weights that could be halved"),
        ("absent", ("--graph",), 1, "absent"),
    ],
)
def test_what_cannot_be_ends_in_one_sentence(
    tidegate: Any, here: Path, ref: str, options: tuple[str, ...], code: int, message: str
) -> None:
    points = np.random.default_rng(0).standard_normal((240, 9))
    np.savez("wide.npz", X=points, y=np.zeros(240, int))
    np.savez("numbers.npz", X=points[:, :8], y=points[:, 8])

    ended = tidegate("optimize", ref, *ASKED, *options)

    assert ended.code == code, ended.err
    assert message in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not Path("small").exists()


def test_ctrl_c_ends_with_130_and_leaves_nothing(parents: Path, tmp_path: Path) -> None:
    shutil.copytree(parents, tmp_path, dirs_exist_ok=True)
    asked = [*ASKED[:-1], "600", "--graph"]  # ten minutes of measuring: it is interrupted long before
    command = [sys.executable, "-c", AS_IN_A_TERMINAL, "optimize", "net", *asked]
    before = sorted(path.name for path in tmp_path.iterdir())
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as running:
        try:
            wait_until(lambda: list(scratch.glob("tidegate-optimize-*/1.onnx")), "the variant made", seconds=60)
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=60)
        finally:
            running.kill()

    assert running.returncode == 130, err
    assert err.strip() == b""
    assert list(scratch.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "scratch"])
