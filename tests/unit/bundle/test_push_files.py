"""Publishing to a folder: the same layout and the same promises as in a bucket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.bundle.tiny import at_once

from tidegate.bundle.errors import Conflict, DigestMismatch
from tidegate.bundle.fetch import fetch
from tidegate.bundle.push import push
from tidegate.bundle.source import Source
from tidegate.errors import Invalid

BundleMaker = Callable[..., Path]


def test_what_was_pushed_is_fetched_by_version_and_by_digest(bundle: BundleMaker, tmp_path: Path) -> None:
    pushed = push(bundle(files={"weights/a.bin": b"a" * 100}), f"file://{tmp_path}/repo/1")

    fetched = fetch(Source(pushed.uri), tmp_path / "here")

    assert fetched.digest == pushed.digest
    assert fetch(Source(f"file://{tmp_path}/repo/other@{pushed.digest}"), tmp_path / "also").digest == pushed.digest


def test_a_second_push_of_the_same_sends_nothing(bundle: BundleMaker, tmp_path: Path) -> None:
    folder = bundle()
    push(folder, f"file://{tmp_path}/repo/1")

    again = push(folder, f"file://{tmp_path}/repo/1")

    assert (again.already, again.files_sent) == (True, 0)


def test_shared_files_are_sent_once(bundle: BundleMaker, tmp_path: Path) -> None:
    push(bundle("one", {"weights/a.bin": b"a" * 100}), f"file://{tmp_path}/repo/1")

    second = push(bundle("two", {"weights/a.bin": b"a" * 100, "b.txt": b"b"}), f"file://{tmp_path}/repo/2")

    assert second.files_sent == 1


def test_a_version_never_becomes_another_bundle_unless_told(bundle: BundleMaker, tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/repo/1"
    old = push(bundle("old"), uri)
    new = bundle("new", {"more.txt": b"more"})

    with pytest.raises(Conflict, match=r"is sha256:.* already"):
        push(new, uri)
    replaced = push(new, uri, replace=True)

    assert fetch(Source(uri), tmp_path / "new-here").digest == replaced.digest
    assert fetch(Source(uri, old.digest), tmp_path / "old-here").digest == old.digest


def test_of_two_pushes_at_once_exactly_one_wins_and_nothing_is_mixed(bundle: BundleMaker, tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/repo/1"
    folders = [bundle(str(number), {"weights/a.bin": bytes([number]) * 1000}) for number in range(4)]

    won, lost = at_once(lambda folder: push(folder, uri).digest, folders)

    assert (len(won), [type(error) for error in lost]) == (1, [Conflict] * 3)
    assert fetch(Source(uri), tmp_path / "here").digest == won[0]


def test_a_directory_that_is_not_what_it_lists_is_not_published(bundle: BundleMaker, tmp_path: Path) -> None:
    folder = bundle()
    content = bytearray((folder / "model.onnx").read_bytes())
    content[3] ^= 1
    (folder / "model.onnx").write_bytes(content)

    with pytest.raises(DigestMismatch):
        push(folder, f"file://{tmp_path}/repo/1")

    assert not (tmp_path / "repo").exists()


def test_a_push_cannot_ask_for_a_digest(bundle: BundleMaker, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot ask for one"):
        push(bundle(), f"file://{tmp_path}/repo/1@sha256:{'a' * 64}")
