"""pack, inspect, diff and check as a user meets them: what they print, and how each error ends."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidegate.bundle.manifest import read_bundle_dir
from tidegate.bundle.write import write_manifest

NAMED = ("--name", "shapes", "--version", "1.0.0")


def test_pack_quietly_prints_the_digest_and_nothing_else(tidegate: Any, script: Path) -> None:
    ended = tidegate("pack", "train.py:model", "-o", "bundle", *NAMED, "--quiet")

    assert ended.code == 0
    assert ended.out.strip() == read_bundle_dir(Path("bundle")).digest


def test_pack_tells_metrics_parity_and_damage(tidegate: Any, script: Path) -> None:
    np.savez("test.npz", X=np.eye(4), y=np.arange(4))

    ended = tidegate("pack", "train.py:model", "-o", "bundle", *NAMED, "--data", "test.npz", "--labels", "y")

    assert "accuracy 1.0000  (4 rows of test.npz)" in ended.out
    assert "4 rows against scikit-learn: 0 differ" in ended.out
    assert "8 samples notice 3 of 3 damages tried" in ended.out


def test_pack_as_json_holds_the_same(tidegate: Any, script: Path) -> None:
    ended = tidegate("pack", "train.py:model", "-o", "bundle", *NAMED, "--metric", "auc=0.5", "--output", "json")

    document = json.loads(ended.out)
    assert document["apiVersion"] == "tidegate.io/cli/v1"
    assert document["metrics"] == {"auc": 0.5}


def test_the_commit_of_the_script_is_recorded(tidegate: Any, script: Path, tmp_path: Path) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    for step in (("init", "-q"), ("add", "train.py"), ("commit", "-qm", "x")):
        subprocess.run(["git", *identity, *step], cwd=tmp_path, check=True)
    subprocess.run(["git", "remote", "add", "origin", "https://me:secret@example.com/r.git"], cwd=tmp_path, check=True)

    tidegate("pack", "train.py:model", "-o", "bundle", *NAMED)

    source = read_bundle_dir(Path("bundle")).manifest.source
    assert source is not None
    assert len(source.commit) == 40
    assert source.repository == "https://example.com/r.git"


def test_a_pickle_is_refused_until_it_is_trusted(tidegate: Any, pickled: Path) -> None:
    refused = tidegate("pack", "model.joblib", "-o", "bundle", *NAMED)
    trusted = tidegate("pack", "model.joblib", "-o", "bundle", *NAMED, "--trust-pickle")

    assert refused.code == 1
    assert "reading it runs whatever code its writer put into it" in refused.err
    assert trusted.code == 0
    assert "warning: reading a pickle" in trusted.err


def test_a_missing_framework_names_its_extra(tidegate: Any, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "skl2onnx", None)

    ended = tidegate("pack", "train.py:model", "-o", "bundle", *NAMED)

    assert ended.code == 1
    assert "pip install 'tidegate[sklearn]'" in ended.err


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("nothing.onnx", 2, "no such file"),
        ("nothing.py:model", 2, "no such script"),
        ("train.py:absent", 1, "there is no function 'absent'"),
        ("train.py:number", 1, "there is no function 'number'"),
        ("train.py:broken", 1, "broken() failed: RuntimeError: no data today"),
        ("no_such_module:model", 1, "cannot be imported: No module named 'no_such_module'"),
        (".", 1, "this is a folder"),
    ],
)
def test_a_source_that_is_none_ends_in_one_sentence(
    tidegate: Any, script: Path, source: str, code: int, message: str
) -> None:
    ended = tidegate("pack", source, "-o", "bundle", *NAMED)

    assert ended.code == code
    assert message in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not Path("bundle").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_package", "cannot be imported: No module named 'no_such_package'"),
        ("import sklearn.no_such_part", "cannot be imported: No module named 'sklearn.no_such_part'"),
        ("from os import no_such_name", "cannot be imported: ImportError: cannot import name 'no_such_name'"),
        ("def model(:", "cannot be imported: SyntaxError"),
        ("raise SystemExit(3)", "cannot be imported: it ends the program (3)"),
        ("def model(): import no_such_package", "model() failed: No module named 'no_such_package'"),
        ("def model(): raise SystemExit(0)", "model() failed: it ends the program (0)"),
    ],
)
def test_a_script_that_cannot_run_ends_in_one_sentence(tidegate: Any, script: Path, text: str, message: str) -> None:
    script.write_text(text)

    ended = tidegate("pack", "train.py:model", "-o", "bundle", *NAMED)

    assert ended.code == 1
    assert f"error: train.py: {message}" in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("text", ["import torch", "def model():\n    import torch"])
def test_a_script_whose_framework_is_missing_names_its_extra(
    tidegate: Any, script: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    script.write_text(text)

    ended = tidegate("pack", "train.py:model", "-o", "bundle", *NAMED)

    assert ended.code == 1
    assert "this needs the package torch" in ended.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--parent", "absent"), "absent"),
        (("--labels", "y"), "labels of what?"),
        (("--metric", "accuracy"), "not name=value"),
        (("--dim", "batch"), "not NAME=SIZE"),
        (("--interface", "input"), "not NAME=DIM"),
        (("--interface", "input=batch,"), "not NAME=DIM"),
        (("--interface", "rows=batch,4"), "there is no input 'rows'"),
        (("--data", "absent.csv"), "no such file"),
        (("--golden", "heldout"), "no data to take rows from"),
        (("--golden-count", "65"), "allowed are 1 to 64"),
        (("--file", "absent.md"), "no such file"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    tidegate: Any, script: Path, options: tuple[str, ...], message: str
) -> None:
    ended = tidegate("pack", "train.py:model", "-o", "bundle", *NAMED, *options)

    assert ended.code in (1, 2)
    assert message in ended.err


def test_inspect_shows_the_interface_and_the_proofs(tidegate: Any, script: Path) -> None:
    tidegate("pack", "train.py:model", "-o", "bundle", *NAMED)

    ended = tidegate("inspect", "bundle")

    assert "input    input: FP32 [batch, 4]" in ended.out
    assert "golden   8 samples, generated" in ended.out


def test_inspect_as_json_lists_every_file(tidegate: Any, script: Path) -> None:
    tidegate("pack", "train.py:model", "-o", "bundle", *NAMED)

    document = json.loads(tidegate("inspect", "bundle", "-o", "json").out)

    assert {row["path"] for row in document["files"]} >= {"model.onnx", "golden/0.npz"}
    assert "skl2onnx" in document["environment"]


def test_diff_accepts_a_new_version_of_the_same_interface(tidegate: Any, script: Path) -> None:
    tidegate("pack", "train.py:model", "-o", "one", *NAMED, "--metric", "auc=0.5")
    tidegate("pack", "train.py:model", "-o", "two", "--name", "shapes", "--version", "2", "--metric", "auc=0.6")

    ended = tidegate("diff", "one", "two")

    rows = [line.split() for line in ended.out.splitlines()]
    assert ["metric", "auc", "0.5", "0.6"] in rows
    assert "rollout  accepted" in ended.out


def test_diff_prints_the_rule_that_a_rollout_would_refuse(tidegate: Any, script: Path) -> None:
    tidegate("pack", "train.py:model", "-o", "one", *NAMED)
    script.write_text(script.read_text().replace("np.eye(4)", "np.eye(5)").replace("(4)", "(5)"))
    tidegate("pack", "train.py:model", "-o", "two", *NAMED)

    ended = tidegate("diff", "one", "two")

    assert "refused (InterfaceChanged): input 'input', dimension 1: was 4 and is 5" in ended.out
    assert tidegate("diff", "one", "two", "-q").out.strip() == "refused"


def test_diff_of_a_bundle_with_itself_is_nothing(tidegate: Any, script: Path) -> None:
    tidegate("pack", "train.py:model", "-o", "one", *NAMED)

    assert tidegate("diff", "one", "one").out.strip() == "the same bundle"


def test_diff_reads_no_graph_that_is_not_the_listed_one(tidegate: Any, script: Path) -> None:
    tidegate("pack", "train.py:model", "-o", "one", *NAMED)
    tidegate("pack", "train.py:model", "-o", "two", *NAMED, "--metric", "auc=1")
    graph = Path("two/model.onnx")
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")

    assert "not the bytes that the manifest lists" in tidegate("diff", "one", "two").err


def test_check_runs_the_samples_in_the_server(tidegate: Any, script: Path) -> None:
    tidegate("pack", "train.py:model", "-o", "bundle", *NAMED)

    document = json.loads(tidegate("check", "bundle", "-o", "json").out)

    assert document["samples"] == 8
    assert {row["output"] for row in document["outputs"]} == {"label", "probabilities"}


def test_check_imports_nothing_of_the_current_folder(tidegate: Any, script: Path) -> None:
    tidegate("pack", "train.py:model", "-o", "bundle", *NAMED)
    Path("numpy.py").write_text("open('mark', 'w')")

    ended = tidegate("check", "bundle")

    assert ended.code == 0
    assert not Path("mark").exists()


def test_check_refuses_weights_that_were_damaged_and_listed_anew(tidegate: Any, script: Path) -> None:
    tidegate("pack", "train.py:model", "-o", "bundle", *NAMED)
    _zero_the_coefficients(Path("bundle"))

    ended = tidegate("check", "bundle")

    assert ended.code == 1
    assert "probabilities" in ended.err


def _zero_the_coefficients(folder: Path) -> None:
    import dataclasses

    import onnx

    from tidegate.author.packing import listed_files

    manifest = read_bundle_dir(folder).manifest
    model = onnx.load(folder / "model.onnx")
    for attribute in model.graph.node[0].attribute:
        if attribute.name == "coefficients":
            attribute.floats[:] = [0.0] * len(attribute.floats)
    onnx.save(model, folder / "model.onnx")
    (folder / "bundle.yaml").unlink()
    write_manifest(dataclasses.replace(manifest, files=listed_files(folder)), folder)


def test_check_decrypts_an_encrypted_bundle_and_leaves_nothing_behind(tidegate: Any, script: Path) -> None:
    tidegate("pack", "train.py:model", "-o", "bundle", *NAMED)
    tidegate("keygen", "--age", "--private", "age.key", "--public", "age.pub")
    tidegate("encrypt", "bundle", "-o", "sealed", "--recipient", Path("age.pub").read_text())
    before = set(Path("/dev/shm").glob("tidegate-*"))

    blind = tidegate("check", "sealed")
    checked = tidegate("check", "sealed", "--identity", "age.key", "-o", "json")

    assert (blind.code, "encrypted" in blind.err) == (1, True)
    assert json.loads(checked.out)["samples"] == 8
    assert set(Path("/dev/shm").glob("tidegate-*")) <= before


def test_check_of_nothing_is_an_error(tidegate: Any) -> None:
    ended = tidegate("check", "absent")

    assert ended.code == 1
    assert "absent" in ended.err
