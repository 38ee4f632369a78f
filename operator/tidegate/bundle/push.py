"""Publishes a bundle directory: blobs first, then the manifest, and the version last of all.

Whatever breaks off in between leaves nothing that a reader would find.  Blobs and manifests are named by content, so
pushing again sends only what is missing; the version is written under a condition, so two pushes never mix.
"""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.bundle.errors import Conflict, NotFound
from tidegate.bundle.manifest import BundleDir, FileEntry
from tidegate.bundle.paths import MAX_SIGNATURE_BYTES, SIGNATURE_NAME, read_plain_file
from tidegate.bundle.source import Access, Progress
from tidegate.bundle.stores import Repository, Seen, open_repository
from tidegate.bundle.uri import BundleUri, parse_uri
from tidegate.bundle.verify import verify_dir
from tidegate.errors import Invalid

WORKERS = 4
DEFAULT_ACCESS = Access()


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was published; `pinned` is its address for ever, `already`: the version was this bundle before."""

    digest: str
    uri: str
    pinned: str
    bytes_sent: int
    files_sent: int
    already: bool


@dataclass(slots=True)
class _Count:
    """Bytes done, for the progress line; blobs that are there already count at once."""

    total: int
    progress: Progress | None
    done: int = 0
    broken_off: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, count: int) -> None:
        """Told of bytes by whoever sends them, and so the place where a transfer is broken off."""
        if self.broken_off:
            raise CancelledError
        with self.lock:
            self.done += count
            if self.progress is not None:
                self.progress(self.done, self.total)


def push(
    folder: Path,
    uri: str,
    *,
    access: Access = DEFAULT_ACCESS,
    replace: bool = False,
    mount_from: str = "",
    progress: Progress | None = None,
) -> Pushed:
    """Publish a bundle under `uri`; Conflict when the version is another bundle and `replace` is not set.

    `mount_from` names a repository of the same registry: what it has of the bundle is not sent.
    """
    address = parse_uri(uri)
    if address.digest or address.image:
        raise Invalid("a push gives the digest, it cannot ask for one", where=uri, do="leave @sha256:… away")
    bundle = verify_dir(folder)
    repository = open_repository(address, access)
    try:
        if mount_from:
            repository.share(mount_from)
        seen = repository.seen()
        if seen is not None and seen.digest != bundle.digest and not replace:  # before anything is sent
            raise _taken(address, seen.digest, bundle.digest)
        entries = repository.wanted(bundle)
        sent = _push_files(repository, bundle, entries, progress)
        repository.seal(bundle, _signature(bundle))
        # Until then no manifest named what was there already, and a sweep may have taken it: look again.
        there = set(entries) - set(sent)
        sent += _push_files(repository, bundle, [entry for entry in entries if entry in there], None)
        already = seen is not None and seen.digest == bundle.digest
        if not already:
            _publish(repository, address, bundle, seen)
        pinned = repository.pinned(bundle)
    finally:
        repository.close()
    return Pushed(bundle.digest, uri, pinned, sum(entry.bytes for entry in sent), len(sent), already)


def _taken(address: BundleUri, there: str, ours: str) -> Conflict:
    return Conflict(
        f"is {there} already, and this is {ours}",
        where=str(address),
        do="push it as a new version, or say --replace",
    )


def _push_files(
    repository: Repository, bundle: BundleDir, entries: list[FileEntry], progress: Progress | None
) -> list[FileEntry]:
    """Send those of the files that the store has not; which they were."""
    count = _Count(bundle.manifest.total_bytes, progress)

    def one(entry: FileEntry) -> bool:
        sent = repository.send(entry, bundle.path / entry.path, count.add)
        if not sent:
            count.add(entry.bytes)
        return sent

    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            running = {pool.submit(one, entry): entry for entry in entries}
            return [running[done] for done in as_completed(running) if done.result()]
        except BaseException:  # Ctrl-C, too: nobody waits for gigabytes that are for nothing
            count.broken_off = True
            pool.shutdown(wait=False, cancel_futures=True)
            repository.close()
            raise


def _signature(bundle: BundleDir) -> bytes | None:
    try:
        return read_plain_file(bundle.path / SIGNATURE_NAME, limit=MAX_SIGNATURE_BYTES)
    except NotFound:
        return None


def _publish(repository: Repository, address: BundleUri, bundle: BundleDir, seen: Seen | None) -> None:
    """Make the version this bundle, unless another push was quicker."""
    try:
        repository.publish(bundle, seen)
    except Conflict:
        found = repository.seen()
        if found is None or found.digest != bundle.digest:
            raise _taken(address, found.digest if found else "changing", bundle.digest) from None
