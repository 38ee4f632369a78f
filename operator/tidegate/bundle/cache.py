"""Bundles kept on one volume, by digest, for several servers and several processes.

    R/bundles/<hex>/        whole bundles, each appeared by one rename and is never written again
    R/known/<hex>.json      its files by content and its size; the file's time is when it was last asked for
    R/leases/<hex>          locked by whoever uses that bundle: a lock dies with its process, so nothing is ever stuck
    R/partial/<hex>/        what is on its way

Content that another bundle here has already is copied from it instead of read from the store, and hashed like the rest.
No hard links: a bundle's files must be nobody else's (see verify.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tidegate.bundle.digest import hex_of, require_digest
from tidegate.bundle.errors import BundleError, NotFound, SignatureRefused
from tidegate.bundle.fetch import DEFAULT_LIMITS, Fetched, Placement, bring
from tidegate.bundle.manifest import BundleDir, FileEntry, read_bundle_dir
from tidegate.bundle.paths import MANIFEST_NAME, MAX_SIGNATURE_BYTES, SIGNATURE_NAME, read_plain_file
from tidegate.bundle.reader import BundleReader, Resolved
from tidegate.bundle.signature import verify_signature
from tidegate.bundle.source import Limits, Progress, Source
from tidegate.bundle.stores import Stream
from tidegate.bundle.stores.file import FileStream
from tidegate.bundle.transfer import Opener
from tidegate.bundle.verify import check_listing, verify_dir


class Lease:
    """Says that a bundle is in use, until it is released or this process is gone."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


@dataclass(frozen=True, slots=True)
class Kept:
    """What is remembered about a bundle here."""

    hex: str
    bytes: int
    files: dict[str, str]  # sha256 -> path
    used: float


class Cache:
    """One folder of bundles; `shared` means that others write here too, so hits are hashed once per process."""

    def __init__(self, root: Path, *, max_bytes: int | None = None, shared: bool = False) -> None:
        self._root = root.absolute()
        self._max_bytes = max_bytes
        self._shared = shared
        self._hashed: set[str] = set()

    def fetch(self, source: Source, *, limits: Limits = DEFAULT_LIMITS, progress: Progress | None = None) -> Fetched:
        """The bundle at an address: from here when it is here, else from its store.

        With a digest that is here, no store is asked at all: it may be gone.
        """
        began = time.monotonic()
        pinned = source.address().digest
        if pinned and (found := self._hit(pinned, source.public_key)):
            return Fetched(found.path, pinned, found.manifest, 0, True, time.monotonic() - began)
        reader = BundleReader(source, limits)
        try:
            resolved = reader.resolve()
            if found := self._hit(resolved.digest, None):
                return Fetched(found.path, resolved.digest, found.manifest, 0, True, time.monotonic() - began)
            count = self._bring(reader, resolved, progress)
        finally:
            reader.close()
        path = self._bundle(hex_of(resolved.digest))
        return Fetched(path, resolved.digest, resolved.manifest, count or 0, count is None, time.monotonic() - began)

    def lease(self, digest: str) -> Lease:
        """Keep a bundle from being evicted; NotFound when it is not here."""
        lease = Lease(self._root / "leases" / hex_of(digest))
        if not self._bundle(hex_of(digest)).is_dir():
            lease.release()
            raise NotFound("is not in the cache", where=digest, do="fetch it first")
        return lease

    def path(self, digest: str) -> Path | None:
        """Where a bundle is, if it is here."""
        path = self._bundle(hex_of(digest))
        return path if path.is_dir() else None

    def evict(self, keep: str = "") -> list[str]:
        """Remove bundles nobody uses, the longest unused first, until the rest fits; gives what was removed."""
        if self._max_bytes is None:
            return []
        kept = sorted(self._known(), key=lambda row: row.used)
        total = sum(row.bytes for row in kept)
        gone: list[str] = []
        for row in kept:
            if total <= self._max_bytes:
                break
            if row.hex != keep and self._remove(row.hex):
                total -= row.bytes
                gone.append(f"sha256:{row.hex}")
        return gone

    def _hit(self, digest: str, public_key: bytes | None) -> BundleDir | None:
        """A bundle that is here and is right; one that is not is removed, and fetched again by the caller."""
        hexes = hex_of(digest)
        path = self._bundle(hexes)
        if not path.is_dir():
            return None
        try:
            bundle = self._checked(path, digest)
            if public_key is not None:
                verify_signature(bundle.raw, _signature(path), public_key, where=str(path))
        except SignatureRefused:
            raise
        except BundleError:
            self._remove(hexes)
            return None
        with contextlib.suppress(OSError):
            os.utime(self._note(hexes))
        return bundle

    def _checked(self, path: Path, digest: str) -> BundleDir:
        if self._shared and digest not in self._hashed:
            bundle = verify_dir(path, digest=digest)
            self._hashed.add(digest)
            return bundle
        bundle = read_bundle_dir(path)
        require_digest(bundle.raw, digest, where=str(path / MANIFEST_NAME))
        check_listing(bundle)
        return bundle

    def _bring(self, reader: BundleReader, resolved: Resolved, progress: Progress | None) -> int | None:
        hexes = hex_of(resolved.digest)
        place = Placement(self._bundle(hexes), self._root / "partial" / hexes, durable=True, local=self._local_copies())
        place.destination.parent.mkdir(parents=True, exist_ok=True)
        count = bring(reader, resolved, place, progress)
        self._hashed.add(resolved.digest)
        self._remember(resolved)
        self.evict(keep=hexes)
        return count

    def _local_copies(self) -> Callable[[FileEntry], Opener | None]:
        """Finds content that another bundle here has."""
        copies = {sha: self._bundle(row.hex) / path for row in self._known() for sha, path in row.files.items()}

        def opener(entry: FileEntry) -> Opener | None:
            path = copies.get(entry.sha256)
            return None if path is None or not path.is_file() else _opener_of(path)

        return opener

    def _remember(self, resolved: Resolved) -> None:
        hexes = hex_of(resolved.digest)
        files = {entry.sha256: entry.path for entry in resolved.manifest.files}
        note = self._note(hexes)
        note.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=note.parent, prefix=".note-", delete=False) as temporary:
            json.dump({"bytes": resolved.manifest.total_bytes, "files": files}, temporary)
        Path(temporary.name).replace(note)

    def _known(self) -> list[Kept]:
        """Every bundle here; one whose note was lost in a crash gets it again."""
        folder = self._root / "bundles"
        if not folder.is_dir():
            return []
        return [row for path in sorted(folder.iterdir()) if (row := self._kept(path))]

    def _kept(self, path: Path) -> Kept | None:
        note = self._note(path.name)
        try:
            about: Any = json.loads(note.read_bytes())
            return Kept(path.name, int(about["bytes"]), dict(about["files"]), note.stat().st_mtime)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        try:
            manifest = read_bundle_dir(path).manifest
        except (BundleError, OSError):
            return Kept(path.name, sum(file.stat().st_size for file in path.rglob("*") if file.is_file()), {}, 0.0)
        files = {entry.sha256: entry.path for entry in manifest.files}
        return Kept(path.name, manifest.total_bytes, files, path.stat().st_mtime)

    def _remove(self, hexes: str) -> bool:
        """Remove a bundle unless it is in use: out of sight by one rename, then from the disk."""
        with _exclusive(self._root / "leases" / hexes) as ours:
            if not ours:
                return False
            (self._root / "partial").mkdir(parents=True, exist_ok=True)
            grave = Path(tempfile.mkdtemp(dir=self._root / "partial", prefix="gone-"))
            with contextlib.suppress(FileNotFoundError):
                self._bundle(hexes).rename(grave / hexes)
            self._note(hexes).unlink(missing_ok=True)
        shutil.rmtree(grave, ignore_errors=True)
        return True

    def _bundle(self, hexes: str) -> Path:
        return self._root / "bundles" / hexes

    def _note(self, hexes: str) -> Path:
        return self._root / "known" / f"{hexes}.json"


def _opener_of(path: Path) -> Opener:
    def opener(entry: FileEntry, start: int, length: int) -> Stream:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            raise NotFound("went away meanwhile", where=entry.path, do="fetch again") from None
        return FileStream(descriptor, start, length)

    return opener


def _signature(path: Path) -> bytes | None:
    try:
        return read_plain_file(path / SIGNATURE_NAME, limit=MAX_SIGNATURE_BYTES)
    except NotFound:
        return None


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[bool]:
    """Whether nobody holds a lease; nobody gets one while this holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)
