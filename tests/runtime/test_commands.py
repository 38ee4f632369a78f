"""The short-lived commands of the pods: one line of JSON that fits a termination message, or one reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.runtime import small_bundles as small

from tidegate.bundle.manifest import Interface, TensorSpec, read_bundle_dir
from tidegate.bundle.reader import Resolved
from tidegate_runtime import main
from tidegate_runtime.outcome import MOST_BYTES
from tidegate_runtime.resolve import resolution


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return small.write_bundle(tmp_path / "bundle", small.linear(), small.linear_samples())


def outcome(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the JSON line of a command."""
    code = main.main(words)
    shown = capsys.readouterr()
    found: dict[str, Any] = json.loads((shown.out or shown.err).splitlines()[-1])
    return code, found


def test_check_tells_the_worst_difference_of_every_output(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = outcome(capsys, "check", str(bundle))

    assert code == 0
    assert (found["ok"], found["samples"], found["device"]) == (True, 2, "cpu")
    assert {row["output"]: row["worst"] < 1e-5 for row in found["outputs"]} == {"scores": True, "label": True}


def test_check_of_a_damaged_model_ends_with_one_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = small.write_bundle(tmp_path / "b", small.linear(small.WEIGHTS * 2), small.linear_samples())
    log = tmp_path / "termination-log"

    code, found = outcome(capsys, "check", str(damaged), "--termination-log", str(log))

    assert code == 1
    assert found["reason"] == "GoldenMismatch"
    assert "output 'scores' of sample golden/0.npz" in found["message"]
    assert json.loads(log.read_text()) == found


def test_fetch_brings_the_same_bundle(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = outcome(capsys, "fetch", bundle.as_uri(), str(tmp_path / "here"))

    assert code == 0
    assert found["digest"] == read_bundle_dir(bundle).digest == read_bundle_dir(tmp_path / "here").digest


def test_fetch_refuses_a_pickle_that_is_called_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small.write_bundle(tmp_path / "b", small.linear())
    (folder / "model.onnx").write_bytes(b"\x80\x04\x95 pickle me")
    (folder / "bundle.yaml").unlink()
    small.write_manifest_of(folder, small.linear())

    code, found = outcome(capsys, "fetch", folder.as_uri(), str(tmp_path / "here"))

    assert (code, found["reason"]) == (1, "ModelInvalid")
    assert "is a pickle, not ONNX" in found["message"]


@pytest.mark.parametrize("command", [["fetch", "HERE"], ["resolve"], ["prove"]])
def test_another_digest_is_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    name, *more = [str(tmp_path / "here") if word == "HERE" else word for word in command]

    code, found = outcome(capsys, name, bundle.as_uri(), *more, "--digest", "sha256:" + "0" * 64)

    assert (code, found["reason"]) == (1, "DigestMismatch")
    assert not (tmp_path / "here").exists()


def test_a_bundle_that_is_not_there_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = outcome(capsys, "resolve", (tmp_path / "nowhere").as_uri())

    assert (code, found["reason"]) == (1, "NotFound")


def test_an_address_inside_the_pod_is_never_asked(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = outcome(capsys, "resolve", "https://169.254.169.254/models/v1")

    assert code == 1
    assert "169.254.169.254" in found["message"]


def test_resolve_says_what_a_rollout_must_know(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = outcome(capsys, "resolve", bundle.as_uri())

    assert code == 0
    assert found["digest"] == read_bundle_dir(bundle).digest
    assert (found["version"], found["golden"], found["signature"]) == ("v1", 2, "Missing")
    assert found["interface"]["inputs"] == [{"name": "x", "type": "FP32", "shape": ["N", 4]}]


def test_prove_runs_the_golden_samples(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = outcome(capsys, "prove", bundle.as_uri())

    assert code == 0
    assert found["proof"]["samples"] == 2
    assert found["digest"] == read_bundle_dir(bundle).digest


def test_prove_refuses_what_the_samples_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = small.write_bundle(tmp_path / "b", small.linear(-small.WEIGHTS), small.linear_samples())

    code, found = outcome(capsys, "prove", damaged.as_uri())

    assert (code, found["reason"]) == (1, "GoldenMismatch")


def test_an_answer_about_a_huge_interface_still_fits_and_says_what_it_left_out(bundle: Path) -> None:
    read = read_bundle_dir(bundle)
    many = tuple(TensorSpec(f"input_with_a_long_name_{i}", "FP32", ("N", i)) for i in range(250))
    manifest = small.with_interface(read.manifest, Interface(many, many))
    labels = [f"label {i}" for i in range(1000)]

    found = resolution(Resolved("file:///b", read.digest, manifest, read.raw, None, False), labels)

    assert len(json.dumps(found).encode()) <= MOST_BYTES
    assert found["omitted"] == ["labels", "interface"]
    assert len(found["interfaceDigest"]) == 64


def test_a_model_for_a_newer_onnx_runtime_is_refused_before_it_is_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small.write_bundle(tmp_path / "b", small.linear())
    small.rewrite_manifest(folder, minimum_runtime="99.1")

    code, found = outcome(capsys, "resolve", folder.as_uri())

    assert (code, found["reason"]) == (1, "ModelInvalid")
    assert "needs ONNX Runtime 99.1" in found["message"]


def test_the_installed_command_answers_on_stdout_with_nothing_else(bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidegate_runtime", "check", str(bundle)], capture_output=True, timeout=60, check=True
    )

    assert json.loads(done.stdout)["ok"] is True
    assert done.stderr == b""
