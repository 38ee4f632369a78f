"""Whether a directory is exactly the bundle that its manifest lists: every byte, no links, nothing else."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tidegate.bundle.assemble import BLOCK, mismatch
from tidegate.bundle.digest import require_digest
from tidegate.bundle.errors import DigestMismatch, NotFound, UnsafeFile
from tidegate.bundle.manifest import BundleDir, FileEntry, read_bundle_dir
from tidegate.bundle.paths import MANIFEST_NAME, MAX_SIGNATURE_BYTES, SIGNATURE_NAME, read_plain_file
from tidegate.bundle.source import Progress


def verify_dir(
    folder: Path, *, digest: str | None = None, public_key: bytes | None = None, progress: Progress | None = None
) -> BundleDir:
    """Check a bundle directory in full; Refused names the file, what was expected and what was found."""
    bundle = read_bundle_dir(folder)
    if digest is not None:
        require_digest(bundle.raw, digest, where=str(folder / MANIFEST_NAME))
    if public_key is not None:
        _verify_signature(bundle, public_key)
    check_listing(bundle)
    total, done = bundle.manifest.total_bytes, 0
    for entry in bundle.manifest.files:
        for count in _hash_file(folder / entry.path, entry):
            done += count
            if progress is not None:
                progress(done, total)
    return bundle


def check_listing(bundle: BundleDir) -> None:
    """Every listed file is there, plain and of its size, and nothing else is; no bytes are read."""
    listed = {entry.path: entry for entry in bundle.manifest.files}
    found = dict(_walk(bundle.path))
    for extra in sorted(found.keys() - listed.keys() - {MANIFEST_NAME, SIGNATURE_NAME}):
        raise UnsafeFile("is not listed in the manifest", where=str(bundle.path / extra), do="remove it, or pack again")
    for path, entry in listed.items():
        if path not in found:
            raise NotFound("is listed in the manifest but is not there", where=str(bundle.path / path), do="pull again")
        _check_plain(found[path], entry, bundle.path / path)


def _check_plain(about: os.stat_result, entry: FileEntry, path: Path) -> None:
    if about.st_nlink != 1:
        raise UnsafeFile("is a hard link", where=str(path), do="copy the file instead")
    if about.st_size != entry.bytes:
        raise DigestMismatch(f"{about.st_size} bytes, expected {entry.bytes}", where=str(path), do="pull or pack again")


def _walk(folder: Path, below: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """All files by relative path; links and special files are refused, and directories entered only when plain."""
    with os.scandir(folder / below) as entries:
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            about = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(about.st_mode):
                yield from _walk(folder, path)
            elif stat.S_ISREG(about.st_mode):
                yield path, about
            else:
                raise UnsafeFile("is a link or no regular file", where=str(folder / path), do="copy the file instead")


def _hash_file(path: Path, entry: FileEntry) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    buffer = memoryview(bytearray(BLOCK))
    sha256 = hashlib.sha256()
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            sha256.update(buffer[:count])
            yield count
    if sha256.hexdigest() != entry.sha256:
        raise mismatch(FileEntry(str(path), entry.bytes, entry.sha256), sha256.hexdigest())


def _verify_signature(bundle: BundleDir, public_key: bytes) -> None:
    from tidegate.bundle.signature import verify_signature

    try:
        signature = read_plain_file(bundle.path / SIGNATURE_NAME, limit=MAX_SIGNATURE_BYTES)
    except NotFound:
        signature = None
    verify_signature(bundle.raw, signature, public_key, where=str(bundle.path))
