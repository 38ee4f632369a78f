"""One bundle in one store: its manifest with the proofs that come before anything else, then its files.

The manifest is read first, small and limited, compared with the digest that was asked for, and its signature is
verified before a single file is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tidegate.bundle import layout
from tidegate.bundle.digest import digest_of, require_digest
from tidegate.bundle.errors import Denied, NotFound, TooLarge
from tidegate.bundle.manifest import MAX_MANIFEST_BYTES, FileEntry, Manifest, parse_manifest
from tidegate.bundle.paths import MAX_SIGNATURE_BYTES
from tidegate.bundle.retry import Deadline, Retries
from tidegate.bundle.source import Limits, Source
from tidegate.bundle.stores import Stream, open_store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Resolved:
    """What an address stands for: the manifest, its digest, and its signature if there is one.

    `image` is the digest of the OCI manifest it came from; empty outside of registries.
    """

    uri: str
    digest: str
    manifest: Manifest
    raw: bytes
    signature: bytes | None
    signature_checked: bool
    image: str = ""


class BundleReader:
    """Reads one bundle; safe to use from several threads."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self.source = source
        self.limits = limits
        self.uri = source.address()
        self.deadline = Deadline(limits.seconds)
        self._store = open_store(self.uri, source.access)
        self._plain = False  # found to be a copy of a directory rather than a repository

    def resolve(self) -> Resolved:
        """Read and prove the manifest; Refused says what it fails."""
        raw = self._first(layout.manifest_places(self.uri), lambda path: self._read(path, MAX_MANIFEST_BYTES))
        digest = digest_of(raw)
        if self.uri.digest:
            require_digest(raw, self.uri.digest, where=str(self.uri))
        signature = self._signature(digest)
        if self.source.public_key is not None:
            from tidegate.bundle.signature import verify_signature

            verify_signature(raw, signature, self.source.public_key, where=str(self.uri))
        manifest = parse_manifest(raw, where=str(self.uri))
        self._check_limits(manifest)
        checked = self.source.public_key is not None
        return Resolved(str(self.uri), digest, manifest, raw, signature, checked, self._store.image)

    def open(self, entry: FileEntry, start: int, length: int) -> Stream:
        """Part of a file of the bundle."""
        return self._first(self._file_places(entry), lambda path: self._store.open(path, start=start, length=length))

    def ranged(self, entry: FileEntry) -> bool:
        return self._store.ranged(self._file_places(entry)[0])

    def close(self) -> None:
        self._store.close()

    def _read(self, path: str, limit: int) -> bytes:
        return Retries(self.deadline).call(lambda: self._store.read(path, limit=limit))

    def _signature(self, digest: str) -> bytes | None:
        places = layout.signature_places(self.uri, digest)
        try:
            return self._first(places, lambda path: self._read(path, MAX_SIGNATURE_BYTES))
        except NotFound:
            return None
        except Denied:
            # Without the right to list, S3 answers 403 for what is not there.
            return None

    def _file_places(self, entry: FileEntry) -> list[str]:
        places = layout.file_places(self.uri, entry)
        return places[::-1] if self._plain else places

    def _first(self, places: Sequence[str], act: Callable[[str], T]) -> T:
        """The first place that has it; 403 is tried like 404, because S3 says either for what is not there."""
        for place in places[:-1]:
            try:
                return act(place)
            except (NotFound, Denied):
                continue
        return act(places[-1])

    def prefer(self, entry: FileEntry) -> None:
        """Look once which layout this store has, so that not every file is asked for twice."""
        for plain in (False, True):
            self._plain = plain
            try:
                Retries(self.deadline).call(
                    lambda: self._store.open(self._file_places(entry)[0], start=0, length=1)
                ).close()
            except (NotFound, Denied):
                continue
            return
        self._plain = False

    def _check_limits(self, manifest: Manifest) -> None:
        count, total = len(manifest.files), manifest.total_bytes
        if count > self.limits.files or total > self.limits.bytes:
            raise TooLarge(
                f"{count} files of {total} bytes; allowed are {self.limits.files} files and {self.limits.bytes} bytes",
                where=str(self.uri),
            )
