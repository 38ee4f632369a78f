"""Publishing to a folder: the same layout and the same promises as in a bucket."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.bundle.tiny import at_once

from tidegate.bundle.errors import Conflict, Denied, DigestMismatch
from tidegate.bundle.fetch import fetch
from tidegate.bundle.manifest import BundleDir
from tidegate.bundle.push import push
from tidegate.bundle.repository import LayoutRepository
from tidegate.bundle.source import Access, Source
from tidegate.bundle.stores import Listed, open_shelf
from tidegate.bundle.stores.file import FileStore
from tidegate.bundle.uri import parse_place
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


def test_what_a_sweep_took_after_a_push_had_found_it_is_sent_again(
    bundle: BundleMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folder = tmp_path / "repo", bundle(files={"weights/a.bin": b"a" * 100})
    push(folder, f"file://{store}/1")
    for named in ("manifests", "1"):  # now it is what a push leaves that was broken off
        shutil.rmtree(store / named)
    seal, swept = LayoutRepository.seal, list[Listed]()

    def seal_late(repository: LayoutRepository, sealed: BundleDir, signature: bytes | None) -> None:
        shelf = open_shelf(parse_place(f"file://{store}"), Access())
        swept.extend(shelf.sweep(time.time() + 60, dry_run=False))
        seal(repository, sealed, signature)

    monkeypatch.setattr(LayoutRepository, "seal", seal_late)
    pushed = push(folder, f"file://{store}/1")

    assert (len(swept), pushed.files_sent, pushed.bytes_sent) == (2, 2, sum(file.bytes for file in swept))
    assert fetch(Source(pushed.uri), tmp_path / "here").digest == pushed.digest


@pytest.mark.parametrize("failure", [Denied("may not be written"), KeyboardInterrupt()])
def test_when_one_upload_fails_the_others_do_not_go_on_to_their_end(
    bundle: BundleMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    running, ended = threading.Event(), list[str]()

    def write(_: FileStore, __: str, source: Path, sent: Callable[[int], None]) -> None:
        if source.name == "b.bin":
            running.wait(60)
            raise failure
        running.set()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            sent(0)
        ended.append(source.name)

    monkeypatch.setattr(FileStore, "write", write)
    with pytest.raises(type(failure)):
        push(bundle(files={"a.bin": b"a", "b.bin": b"b"}), f"file://{tmp_path}/repo/1")

    assert ended == []


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
