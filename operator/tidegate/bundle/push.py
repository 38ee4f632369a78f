"""Publishes a bundle directory: blobs first, then the manifest, and the version last of all.

Whatever breaks off in between leaves nothing that a reader would find.  Blobs and manifests are named by content, so
pushing again sends only what is missing; the version is written under a condition, so two pushes never mix.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.bundle import layout
from tidegate.bundle.digest import digest_of
from tidegate.bundle.errors import Conflict, NotFound
from tidegate.bundle.manifest import BundleDir, FileEntry
from tidegate.bundle.paths import MAX_SIGNATURE_BYTES, SIGNATURE_NAME, read_plain_file
from tidegate.bundle.source import Access, Progress
from tidegate.bundle.stores import WritableStore, open_writer
from tidegate.bundle.uri import BundleUri, parse_uri
from tidegate.bundle.verify import verify_dir
from tidegate.errors import Invalid

WORKERS = 4
DEFAULT_ACCESS = Access()


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was published; `already` means that the version was this bundle before."""

    digest: str
    uri: str
    bytes_sent: int
    files_sent: int
    already: bool


@dataclass(slots=True)
class _Count:
    """Bytes done, for the progress line; blobs that are there already count at once."""

    total: int
    progress: Progress | None
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, count: int) -> None:
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
    progress: Progress | None = None,
) -> Pushed:
    """Publish a bundle under `uri`; Conflict when the version is another bundle and `replace` is not set."""
    address = parse_uri(uri)
    if address.digest:
        raise Invalid("a push gives the digest, it cannot ask for one", where=uri, do="leave @sha256:… away")
    bundle = verify_dir(folder)
    store = open_writer(address, access)
    try:
        seen = _look(store, address, bundle, replace=replace)
        sent = _push_blobs(store, address, bundle, progress)
        _push_manifest(store, address, bundle)
        already = seen is not None and digest_of(seen[0]) == bundle.digest
        if not already:
            _publish(store, address, bundle, seen[1] if seen else None)
    finally:
        store.close()
    return Pushed(bundle.digest, uri, sum(entry.bytes for entry in sent), len(sent), already)


def _look(store: WritableStore, address: BundleUri, bundle: BundleDir, *, replace: bool) -> tuple[bytes, str] | None:
    """What the version is now; refused early, before anything is sent, when it is another bundle."""
    seen = store.current(layout.version_path(address))
    if seen is not None and digest_of(seen[0]) != bundle.digest and not replace:
        raise _taken(address, digest_of(seen[0]), bundle.digest)
    return seen


def _taken(address: BundleUri, there: str, ours: str) -> Conflict:
    return Conflict(
        f"is {there} already, and this is {ours}",
        where=str(address),
        do="push it as a new version, or say --replace",
    )


def _push_blobs(
    store: WritableStore, address: BundleUri, bundle: BundleDir, progress: Progress | None
) -> list[FileEntry]:
    """Send the files that the store has not; the same content is sent once."""
    count = _Count(bundle.manifest.total_bytes, progress)

    def one(entry: FileEntry) -> bool:
        path = layout.blob_path(address, entry.sha256)
        if store.size(path) == entry.bytes:
            count.add(entry.bytes)
            return False
        store.write(path, bundle.path / entry.path, count.add)
        return True

    entries = list({entry.sha256: entry for entry in bundle.manifest.files}.values())
    with ThreadPoolExecutor(WORKERS) as pool:
        return [entry for entry, sent in zip(entries, pool.map(one, entries), strict=True) if sent]


def _push_manifest(store: WritableStore, address: BundleUri, bundle: BundleDir) -> None:
    """The manifest and its signature under their digest; a signature made again is written again."""
    for path, content in _proofs(address, bundle):
        seen = store.current(path)
        if seen is None or seen[0] != content:
            _put(store, path, content, seen[1] if seen else None)


def _proofs(address: BundleUri, bundle: BundleDir) -> Iterable[tuple[str, bytes]]:
    try:
        signature = read_plain_file(bundle.path / SIGNATURE_NAME, limit=MAX_SIGNATURE_BYTES)
    except NotFound:
        pass
    else:
        yield layout.signature_path(address, bundle.digest), signature
    yield layout.manifest_path(address, bundle.digest), bundle.raw


def _put(store: WritableStore, path: str, content: bytes, seen: str | None) -> None:
    """Write a manifest or signature; when somebody else wrote the same one meanwhile, that is as good."""
    try:
        store.put(path, content, seen=seen)
    except Conflict:
        found = store.current(path)
        if found is None or found[0] != content:
            raise


def _publish(store: WritableStore, address: BundleUri, bundle: BundleDir, seen: str | None) -> None:
    """Make the version this bundle, unless another push was quicker."""
    path = layout.version_path(address)
    try:
        store.put(path, bundle.raw, seen=seen)
    except Conflict:
        found = store.current(path)
        there = digest_of(found[0]) if found else ""
        if there != bundle.digest:
            raise _taken(address, there or "changing", bundle.digest) from None
