"""Brings a bundle here: proved, whole and at once, or not at all.

    resolve   the manifest and its proofs, no files
    fetch     everything, into a new directory that appears by one rename

What was fetched so far lies in a hidden directory beside the destination, so that a killed fetch goes on where it was.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tidegate.bundle.assemble import NEW, disk_errors
from tidegate.bundle.digest import hex_of
from tidegate.bundle.errors import BundleError, Conflict, DiskFull, UnsafeFile
from tidegate.bundle.manifest import FileEntry, Manifest
from tidegate.bundle.paths import MANIFEST_NAME, SIGNATURE_NAME
from tidegate.bundle.reader import BundleReader, Resolved
from tidegate.bundle.source import Limits, Progress, Source
from tidegate.bundle.transfer import Opener, Transfer
from tidegate.bundle.verify import verify_dir

DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A bundle that is here; `bytes_read` came from the store, `hit` means it was here already.

    `image` is the digest of the OCI manifest it came from; empty outside of registries, and where none was asked.
    """

    path: Path
    digest: str
    manifest: Manifest
    bytes_read: int
    hit: bool
    seconds: float
    image: str = ""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a bundle goes; `durable` when it will later be trusted without hashing it again; `local` finds copies."""

    destination: Path
    partial: Path
    durable: bool = False
    local: Callable[[FileEntry], Opener | None] = lambda _: None


def resolve(source: Source, limits: Limits = DEFAULT_LIMITS) -> Resolved:
    """The manifest at an address, proved against the digest and key that the source names."""
    reader = BundleReader(source, limits)
    try:
        return reader.resolve()
    finally:
        reader.close()


def fetch(
    source: Source, destination: Path, *, limits: Limits = DEFAULT_LIMITS, progress: Progress | None = None
) -> Fetched:
    """Fetch a bundle into `destination`, which must not exist unless it is the same bundle already.

    With a digest whose bundle is there, no store is asked at all: it may be gone.
    """
    began = time.monotonic()
    destination = Path(os.path.abspath(destination))  # noqa: PTH100  (links are refused later, not followed)
    pinned = source.address().digest
    if pinned and source.public_key is None and is_taken(destination):  # a signature is the store's to give
        return _already(destination, pinned, began)
    reader = BundleReader(source, limits)
    try:
        resolved = reader.resolve()
        if is_taken(destination):
            return replace(_already(destination, resolved.digest, began), image=resolved.image)
        partial = destination.parent / f".{destination.name}.{hex_of(resolved.digest)[:16]}.partial"
        count = bring(reader, resolved, Placement(destination, partial), progress)
        hit, seconds = count is None, time.monotonic() - began
        return Fetched(destination, resolved.digest, resolved.manifest, count or 0, hit, seconds, resolved.image)
    finally:
        reader.close()


def bring(reader: BundleReader, resolved: Resolved, place: Placement, progress: Progress | None = None) -> int | None:
    """Transfer a resolved bundle to its place; the bytes read, or None when somebody else brought it meanwhile."""
    _require_space(place, resolved.manifest)
    with _own_directory(place.partial), _gone_when_full(place.partial):
        if is_taken(place.destination):
            shutil.rmtree(place.partial, ignore_errors=True)
            return None
        files, journals = place.partial / "files", place.partial / "journals"
        for folder in (files, journals):
            folder.mkdir(mode=0o755, exist_ok=True)
        if resolved.manifest.files:
            reader.prefer(resolved.manifest.files[0])
        transfer = Transfer(reader, resolved.manifest, progress)
        transfer.run(files, journals, durable=place.durable, local=place.local)
        _write_proofs(files, resolved, durable=place.durable)
        _publish(files, place)
    shutil.rmtree(place.partial, ignore_errors=True)
    return transfer.bytes_read


def is_taken(destination: Path) -> bool:
    """Whether something is there; an empty directory is nothing."""
    try:
        return any(destination.iterdir())
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return True


def _already(destination: Path, digest: str, began: float) -> Fetched:
    """What is there, hashed in full: others may have written to it."""
    try:
        found = verify_dir(destination, digest=digest)
    except BundleError as error:
        raise Conflict(
            f"is there already and is not {digest} ({error.what})",
            where=str(destination),
            do="name another directory, or remove that one",
        ) from None
    return Fetched(destination, digest, found.manifest, 0, True, time.monotonic() - began)


def _require_space(place: Placement, manifest: Manifest) -> None:
    folder = next(parent for parent in place.partial.parents if parent.exists())
    have = sum(file.stat().st_blocks * 512 for file in place.partial.rglob("*") if file.is_file())
    need, free = manifest.total_bytes - have, shutil.disk_usage(folder).free
    if need > free:
        raise DiskFull(f"{need} bytes are needed and {free} are free", where=str(folder), do="make room")


@contextlib.contextmanager
def _own_directory(partial: Path) -> Iterator[None]:
    """Our directory for what is on its way, ours alone while the lock is held; a second fetch waits here."""
    while (lock := _locked(partial)) is None:
        continue  # whoever held it has finished and removed the directory
    try:
        yield
    finally:
        os.close(lock)


def _locked(partial: Path) -> int | None:
    """The lock of the directory, or None when it was another's and is gone."""
    with disk_errors(partial):
        partial.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = partial.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
            raise UnsafeFile("not a directory of ours", where=str(partial), do="remove it")
        try:
            lock = os.open(partial / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return None
    fcntl.flock(lock, fcntl.LOCK_EX)
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(lock), os.stat(partial / "lock", follow_symlinks=False)):  # noqa: PTH116
            return lock
    os.close(lock)
    return None


@contextlib.contextmanager
def _gone_when_full(partial: Path) -> Iterator[None]:
    """A full disk must not stay full because of us."""
    try:
        yield
    except DiskFull:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_proofs(files: Path, resolved: Resolved, *, durable: bool) -> None:
    proofs = {MANIFEST_NAME: resolved.raw, SIGNATURE_NAME: resolved.signature}
    for name, content in proofs.items():
        if content is None:
            continue
        (files / name).unlink(missing_ok=True)
        with disk_errors(files), os.fdopen(os.open(files / name, NEW, 0o444), "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())


def _publish(files: Path, place: Placement) -> None:
    place.destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        files.rename(place.destination)
    except OSError as error:
        raise Conflict(
            f"the bundle cannot be put there: {error.strerror}", where=str(place.destination), do="name a new directory"
        ) from None
    if place.durable:
        _sync_folders(place.destination)


def _sync_folders(destination: Path) -> None:
    folders = [destination.parent, destination, *(path for path in destination.rglob("*") if path.is_dir())]
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(descriptor)
        os.close(descriptor)
