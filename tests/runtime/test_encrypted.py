"""The pods' commands with an encrypted bundle: ciphertext on disks, plain text in memory, and what resolve tells of it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.runtime import small_bundles as small

from tidegate.bundle.encryption import encrypt, generate_identity
from tidegate.bundle.manifest import BundleDir, Metric, read_bundle_dir
from tidegate.bundle.write import render_manifest
from tidegate_runtime import main

MARK = "these weights are nobody else's"


@pytest.fixture
def sealed(tmp_path: Path) -> BundleDir:
    graph = small.linear()
    graph.doc_string = MARK
    folder = small.write_bundle(tmp_path / "plain", graph, small.linear_samples(), labels="no\nyes\nperhaps\n")
    for name in ("age", "other"):
        generate_identity(tmp_path / f"{name}.key", tmp_path / f"{name}.pub")
    found = encrypt(folder, tmp_path / "sealed", [(tmp_path / "age.pub").read_text()])
    (tmp_path / "digest").write_text(read_bundle_dir(folder).digest)
    shutil.rmtree(folder)
    return found


@pytest.fixture
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="tidegate-test-") as folder:
        yield Path(folder)


def outcome(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, dict[str, Any]]:
    """Exit code and the JSON line of a command."""
    code = main.main([str(word) for word in words])
    shown = capsys.readouterr()
    found: dict[str, Any] = json.loads((shown.out or shown.err).splitlines()[-1])
    return code, found


def plain_text(folder: Path) -> list[str]:
    """Files in which the model can be read."""
    return [path.name for path in sorted(folder.rglob("*")) if path.is_file() and MARK.encode() in path.read_bytes()]


def test_resolve_tells_all_without_the_key_and_how_much_memory_the_plain_text_takes(
    sealed: BundleDir, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = outcome(capsys, "resolve", sealed.path.as_uri())

    assert (code, found["digest"], found["labels"]) == (0, sealed.digest, ["no", "yes", "perhaps"])
    assert found["interface"]["inputs"][0]["name"] == "x"
    assert found["plainBytes"] == sealed.manifest.plain_room > 0


def test_resolve_says_nothing_of_encryption_where_there_is_none_whatever_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small.write_bundle(tmp_path / "b", small.linear(), small.linear_samples())

    for command in (["resolve"], ["prove"], ["fetch", str(tmp_path / "here"), "--plain", str(tmp_path / "never")]):
        name, *more = command
        code, found = outcome(capsys, name, folder.as_uri(), *more, "--identity", tmp_path / "nowhere.key")

        assert (code, "plainBytes" in found, "plainDigest" in found) == (0, False, False)
    assert not (tmp_path / "never").exists()


def test_fetch_keeps_ciphertext_and_decrypts_into_memory(
    sealed: BundleDir, tmp_path: Path, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, plain, key = tmp_path / "cache/model", memory / "model", tmp_path / "age.key"

    code, found = outcome(capsys, "fetch", sealed.path.as_uri(), place, "--plain", plain, "--identity", key)

    original = (tmp_path / "digest").read_text()
    assert (code, found["digest"], found["plainDigest"]) == (0, sealed.digest, original)
    assert read_bundle_dir(place).digest == sealed.digest
    assert read_bundle_dir(plain).digest == original
    assert (plain_text(memory), plain_text(tmp_path)) == (["model.onnx"], [])
    assert outcome(capsys, "check", plain)[0] == 0


def test_a_second_init_step_finds_both_and_one_on_another_node_decrypts_what_the_cache_has(
    sealed: BundleDir, tmp_path: Path, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words: list[str | Path] = ["fetch", sealed.path.as_uri(), tmp_path / "cache", "--digest", sealed.digest]
    words += ["--plain", memory / "model", "--identity", tmp_path / "age.key"]
    outcome(capsys, *words)
    shutil.rmtree(sealed.path)  # from here on nobody asks the store

    again = outcome(capsys, *words)
    shutil.rmtree(memory / "model")
    elsewhere = outcome(capsys, *words)

    assert [(code, found["hit"], found["bytesRead"]) for code, found in (again, elsewhere)] == [(0, True, 0)] * 2
    assert plain_text(memory) == ["model.onnx"]


@pytest.mark.parametrize("gone", ["the key", "the Secret", "the right key"])
def test_an_init_step_that_runs_again_beside_the_plain_text_needs_no_key(
    sealed: BundleDir, tmp_path: Path, memory: Path, capsys: pytest.CaptureFixture[str], gone: str
) -> None:
    words: list[str | Path] = ["fetch", sealed.path.as_uri(), tmp_path / "cache", "--digest", sealed.digest]
    words += ["--plain", memory / "model", "--identity", tmp_path / "age.key"]
    outcome(capsys, *words)
    if gone == "the right key":
        (tmp_path / "other.key").replace(tmp_path / "age.key")
    else:
        (tmp_path / "age.key").unlink()

    code, found = outcome(capsys, *(words[:-2] if gone == "the Secret" else words))

    assert (code, found["plainDigest"]) == (0, (tmp_path / "digest").read_text())
    assert plain_text(memory) == ["model.onnx"]


@pytest.mark.parametrize("command", ["fetch", "prove", "resolve"])
@pytest.mark.parametrize("key", ["other.key", "age.pub", "nowhere.key"])
def test_a_key_that_does_not_open_the_bundle_is_told_and_leaves_no_plain_text(
    sealed: BundleDir, tmp_path: Path, memory: Path, capsys: pytest.CaptureFixture[str], command: str, key: str
) -> None:
    given: dict[str, list[str | Path]] = {
        "fetch": [tmp_path / "cache", "--plain", memory / "model"], "prove": ["--memory", memory], "resolve": [],
    }  # fmt: skip
    code, reason, says = {
        "other.key": (1, "DecryptionKeyWrong", "none of these age keys"),
        "age.pub": (1, "DecryptionKeyWrong", "holds no age key"),
        "nowhere.key": (5, "SecretMissing", "add it to the Secret that is named"),
    }[key]

    ended, found = outcome(capsys, command, sealed.path.as_uri(), *given[command], "--identity", tmp_path / key)

    assert (ended, found["reason"]) == (code, reason)
    assert says in found["message"]
    assert (plain_text(memory), list(memory.iterdir())) == ([], [])
    if (tmp_path / key).exists():
        assert (tmp_path / key).read_text().strip()[20:40] not in found["message"]


@pytest.mark.parametrize("command", ["fetch", "prove"])
def test_without_a_key_an_encrypted_bundle_is_not_run(
    sealed: BundleDir, tmp_path: Path, memory: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    more: list[str | Path] = ["--memory", memory]
    if command == "fetch":
        more = [tmp_path / "cache", "--plain", memory / "model"]

    code, found = outcome(capsys, command, sealed.path.as_uri(), *more)

    assert (code, found["reason"]) == (1, "BundleEncrypted")
    assert "bundle.decryption" in found["message"]


@pytest.mark.parametrize("command", ["fetch", "prove"])
def test_a_bundle_that_is_judged_by_other_figures_than_its_own_is_not_run(
    sealed: BundleDir, tmp_path: Path, memory: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    praised = replace(sealed.manifest, metrics=(Metric("accuracy", 1.0),))
    (sealed.path / "bundle.yaml").write_bytes(render_manifest(praised))
    more: list[str | Path] = ["--memory", memory]
    if command == "fetch":
        more = [tmp_path / "cache", "--plain", memory / "model"]

    code, found = outcome(capsys, command, sealed.path.as_uri(), *more, "--identity", tmp_path / "age.key")

    assert (code, found["reason"]) == (1, "ManifestInvalid")
    assert "metrics is not that of the bundle that was encrypted" in found["message"]
    assert list(memory.iterdir()) == []


def test_fetch_has_to_be_told_where_plain_text_may_be(
    sealed: BundleDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = outcome(capsys, "fetch", sealed.path.as_uri(), tmp_path / "cache", "--identity", tmp_path / "age.key")

    assert (code, found["reason"]) == (2, "Usage")
    assert "--plain DIR" in found["message"]
    assert plain_text(tmp_path) == []


def test_the_environment_names_key_and_place_as_flags_do(
    sealed: BundleDir, tmp_path: Path, memory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_IDENTITY", str(tmp_path / "age.key"))
    monkeypatch.setenv("TIDEGATE_PLAIN", str(memory / "model"))

    code, _ = outcome(capsys, "fetch", sealed.path.as_uri(), tmp_path / "cache")

    assert (code, plain_text(memory)) == (0, ["model.onnx"])


def test_prove_runs_the_golden_samples_of_what_it_decrypts_and_leaves_nothing(
    sealed: BundleDir, tmp_path: Path, memory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    seen: list[tuple[list[str], list[str]]] = []

    def looking(folder: Path, device: str) -> dict[str, Any]:
        seen.append((plain_text(memory), plain_text(tmp_path)))
        return check(folder, device)

    from tidegate_runtime import prove
    from tidegate_runtime.check import check

    monkeypatch.setattr(prove, "check", looking)

    code, found = outcome(
        capsys, "prove", sealed.path.as_uri(), "--work", work, "--memory", memory, "--identity", tmp_path / "age.key"
    )

    assert (code, found["proof"]["samples"]) == (0, 2)
    assert seen == [(["model.onnx"], [])]
    assert (list(work.iterdir()), list(memory.iterdir())) == ([], [])
