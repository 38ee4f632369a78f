"""A directory is the bundle that its manifest lists, to the last byte, or it is refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.bundle.errors import BundleError, DigestMismatch, NotFound, UnsafeFile
from tidegate.bundle.fetch import fetch
from tidegate.bundle.source import Source
from tidegate.bundle.verify import verify_dir

BundleMaker = Callable[..., Path]
FILES = {"weights/a.bin": b"a" * 2_000_000, "golden/0.npz": b"g", "empty.txt": b""}


def as_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere-" + path.name))
    path.symlink_to(path.with_name("elsewhere-" + path.name))


def as_folder_link(path: Path) -> None:
    path.parent.rename(path.parents[1].with_name("outside"))
    path.parent.symlink_to(path.parents[1].with_name("outside"))


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (as_link, UnsafeFile, "link"),
        (as_folder_link, UnsafeFile, "link"),
        (as_fifo, UnsafeFile, "no regular file"),
        (lambda path: os.link(path, path.parents[1].with_name("other")), UnsafeFile, "hard link"),
        (lambda path: path.unlink(), NotFound, "is listed in the manifest but is not there"),
        (lambda path: path.with_name("extra.bin").write_bytes(b"x"), UnsafeFile, "is not listed"),
        (lambda path: path.write_bytes(b"a" * 1_999_999), DigestMismatch, "1999999 bytes, expected 2000000"),
        (lambda path: path.write_bytes(b"a" * 1_999_999 + b"b"), DigestMismatch, "expected sha256"),
    ],
)
def test_a_spoilt_directory_is_refused_naming_the_file(
    bundle: BundleMaker, spoil: Callable[[Path], object], error: type[BundleError], message: str
) -> None:
    folder = bundle(files=FILES)
    spoil(folder / "weights/a.bin")

    with pytest.raises(error, match=message):
        verify_dir(folder)


@pytest.mark.parametrize("path", ["model.onnx", "weights/a.bin", "golden/0.npz", "bundle.yaml"])
def test_one_flipped_byte_anywhere_is_found_by_who_knows_the_digest(bundle: BundleMaker, path: str) -> None:
    folder = bundle(files=FILES)
    digest = verify_dir(folder).digest
    content = bytearray((folder / path).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / path).write_bytes(content)

    with pytest.raises(BundleError):
        verify_dir(folder, digest=digest)


def test_progress_ends_at_the_whole(bundle: BundleMaker) -> None:
    seen: list[tuple[int, int]] = []

    found = verify_dir(bundle(files=FILES), progress=lambda done, total: seen.append((done, total)))

    assert seen[-1] == (found.manifest.total_bytes, found.manifest.total_bytes)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (as_link, "plain file"),
        (as_fifo, "regular file"),
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(b"a" * 1_999_999), "1999999 bytes in the store, 2000000 in the manifest"),
        (lambda path: path.write_bytes(b"a" * 1_999_999 + b"b"), "expected sha256"),
    ],
)
def test_a_fetch_of_a_spoilt_copy_is_refused_and_leaves_nothing_to_be_seen(
    bundle: BundleMaker, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    folder = bundle(files=FILES)
    spoil(folder / "weights/a.bin")

    with pytest.raises(BundleError, match=message):
        fetch(Source(str(folder)), tmp_path / "here")

    assert not (tmp_path / "here").exists()


def test_a_fetch_takes_only_what_is_listed(bundle: BundleMaker, tmp_path: Path) -> None:
    folder = bundle(files=FILES)
    (folder / "extra.bin").write_bytes(b"not listed")

    fetched = fetch(Source(str(folder)), tmp_path / "here")

    assert verify_dir(fetched.path).digest == fetched.digest
