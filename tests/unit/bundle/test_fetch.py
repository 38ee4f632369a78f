"""A fetch is whole or nothing, goes on where it was, and trusts nothing that lies there already."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.bundle.assemble import BLOCK
from tidegate.bundle.errors import (
    Conflict,
    DigestMismatch,
    DiskFull,
    NotFound,
    StoreTimeout,
    TooLarge,
    Unreachable,
    UnsafeFile,
)
from tidegate.bundle.fetch import Fetched, fetch, resolve
from tidegate.bundle.retry import Deadline, Retries
from tidegate.bundle.source import Limits, Source
from tidegate.bundle.stores.file import FileStore, FileStream
from tidegate.bundle.verify import verify_dir

BundleMaker = Callable[..., Path]
BIG = os.urandom(9 * BLOCK + 17)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make every stream break after so many bytes in all."""

    def arrange(after: int) -> None:
        left = [after]
        plain = FileStream.readinto

        def readinto(self: FileStream, buffer: memoryview) -> int:
            count = plain(self, buffer)
            left[0] -= count
            if left[0] < 0:
                raise KeyboardInterrupt
            return count

        monkeypatch.setattr(FileStream, "readinto", readinto)

    return arrange


def interrupted(folder: Path, target: Path, cut: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch that was broken off about half way."""
    with monkeypatch.context():
        cut(len(BIG) // 2)
        with pytest.raises(KeyboardInterrupt):
            fetch(Source(str(folder)), target)
    monkeypatch.undo()


def partial_of(target: Path) -> Path:
    (found,) = target.parent.glob(f".{target.name}.*.partial")
    return found


def test_a_broken_fetch_goes_on_inside_the_file(
    bundle: BundleMaker, tmp_path: Path, cut: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target = bundle(files={"weights/big.bin": BIG}), tmp_path / "here"
    interrupted(folder, target, cut, monkeypatch)
    assert not target.exists()

    fetched = fetch(Source(str(folder)), target)

    assert fetched.bytes_read < len(BIG) * 0.7
    assert verify_dir(target).digest == fetched.digest
    assert not list(tmp_path.glob(".here.*"))


def test_what_an_earlier_attempt_left_is_hashed_again_and_replaced_when_it_is_wrong(
    bundle: BundleMaker, tmp_path: Path, cut: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target = bundle(files={"weights/big.bin": BIG}), tmp_path / "here"
    interrupted(folder, target, cut, monkeypatch)
    left = partial_of(target) / "files/weights/big.bin"
    with left.open("r+b") as file:
        file.write(b"tampered")

    fetch(Source(str(folder)), target)

    assert verify_dir(target)


def test_a_link_in_place_of_what_was_left_is_not_followed(
    bundle: BundleMaker, tmp_path: Path, cut: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target = bundle(files={"weights/big.bin": BIG}), tmp_path / "here"
    interrupted(folder, target, cut, monkeypatch)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    left = partial_of(target) / "files/weights/big.bin"
    left.unlink()
    left.symlink_to(victim)

    with pytest.raises(UnsafeFile, match="cannot be taken up"):
        fetch(Source(str(folder)), target)

    assert victim.read_bytes() == b"precious"


def test_an_empty_directory_is_taken_over_and_the_same_bundle_is_accepted(bundle: BundleMaker, tmp_path: Path) -> None:
    folder, target = bundle(), tmp_path / "here"
    target.mkdir()

    first, second = fetch(Source(str(folder)), target), fetch(Source(str(folder)), target)

    assert (first.hit, second.hit) == (False, True)


def test_a_bundle_that_is_there_by_its_digest_needs_no_store(bundle: BundleMaker, tmp_path: Path) -> None:
    folder, target = bundle(), tmp_path / "here"
    digest = fetch(Source(str(folder)), target).digest
    shutil.rmtree(folder)

    again = fetch(Source(str(folder), digest), target)

    assert (again.hit, again.bytes_read, again.digest) == (True, 0, digest)
    with pytest.raises(NotFound):
        fetch(Source(str(folder)), target)


def test_a_bundle_that_is_there_and_was_changed_is_not_served_by_its_digest(
    bundle: BundleMaker, tmp_path: Path
) -> None:
    folder, target = bundle(), tmp_path / "here"
    digest = fetch(Source(str(folder)), target).digest
    model = target / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[::-1])

    with pytest.raises(Conflict, match="is there already and is not sha256:"):
        fetch(Source(str(folder), digest), target)


def test_a_directory_that_holds_something_else_is_left_alone(bundle: BundleMaker, tmp_path: Path) -> None:
    target = tmp_path / "here"
    target.mkdir()
    (target / "mine.txt").write_text("mine")

    with pytest.raises(Conflict, match="is there already"):
        fetch(Source(str(bundle())), target)

    assert (target / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_clear_error_and_nothing_stays_behind(
    bundle: BundleMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", full)
    source = Source(str(bundle(files={"weights/big.bin": BIG})))

    with pytest.raises(DiskFull, match="no space left"):
        fetch(source, tmp_path / "here")

    assert not list(tmp_path.glob("*here*")) + list(tmp_path.glob(".here*"))


def test_a_disk_that_is_too_small_is_known_before_anything_is_sent(
    bundle: BundleMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    with pytest.raises(DiskFull, match="and 10 are free"):
        fetch(Source(str(bundle())), tmp_path / "here")


def test_limits_of_bytes_and_files_are_judged_by_the_manifest(bundle: BundleMaker, tmp_path: Path) -> None:
    source = Source(str(bundle(files={"weights/big.bin": BIG})))

    with pytest.raises(TooLarge, match="allowed are"):
        fetch(source, tmp_path / "here", limits=Limits(bytes=1000))
    with pytest.raises(TooLarge, match="allowed are 1 files"):
        resolve(source, Limits(files=1))


def test_a_fetch_ends_at_its_deadline(bundle: BundleMaker, tmp_path: Path) -> None:
    with pytest.raises(StoreTimeout, match="not done within 0 s"):
        fetch(Source(str(bundle(files={"weights/big.bin": BIG}))), tmp_path / "here", limits=Limits(seconds=0))


def test_a_store_that_stops_sending_is_given_up(
    bundle: BundleMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = threading.Event()

    def hang(self: FileStream, buffer: memoryview) -> int:
        closed.wait(30)
        raise Unreachable("the transfer was broken off")

    monkeypatch.setattr(FileStream, "readinto", hang)
    monkeypatch.setattr(FileStore, "close", lambda self: closed.set())

    with pytest.raises(StoreTimeout, match=r"nothing came for 0\.2 s"):
        fetch(Source(str(bundle())), tmp_path / "here", limits=Limits(stall=0.2))


def test_another_digest_than_the_one_asked_for_is_refused(bundle: BundleMaker, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatch, match="expected sha256:aaaa"):
        fetch(Source(str(bundle()), "sha256:" + "a" * 64), tmp_path / "here")


def test_two_fetches_to_one_place_bring_one_bundle(bundle: BundleMaker, tmp_path: Path) -> None:
    source, results = Source(str(bundle(files={"weights/big.bin": BIG}))), list[Fetched]()
    threads = [threading.Thread(target=lambda: results.append(fetch(source, tmp_path / "here"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert sorted(result.hit for result in results) == [False, True]
    assert verify_dir(tmp_path / "here")


def test_attempts_end_after_a_limited_number_with_growing_pauses() -> None:
    pauses: list[float] = []
    retries = Retries(Deadline(60, clock=lambda: 0.0), attempts=4, sleep=pauses.append)

    def fail() -> None:
        raise Unreachable("down")

    with pytest.raises(Unreachable):
        retries.call(fail)

    assert len(pauses) == 3
    assert all(0.1 <= pause <= 0.2 * 2 ** (number + 1) for number, pause in enumerate(pauses))


def test_no_attempt_begins_after_the_deadline() -> None:
    now = [0.0]
    retries = Retries(Deadline(1, clock=lambda: now[0]), sleep=lambda _: now.__setitem__(0, 2.0))

    def fail() -> None:
        raise Unreachable("down")

    with pytest.raises(StoreTimeout):
        retries.call(fail)
