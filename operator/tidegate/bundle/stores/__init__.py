"""Where bundles live: one small protocol, one module each, one line each in `SCHEMES`.

A store speaks of whole paths below one bucket, host or file system; what the paths mean is layout.py's business.
A repository is where a version is published; a registry has its own way for that, all others share one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tidegate.bundle.manifest import BundleDir, FileEntry
from tidegate.bundle.source import Access
from tidegate.bundle.uri import BundleUri
from tidegate.errors import Invalid


class Stream(Protocol):
    """Part of a stored file, being read."""

    total: int  # bytes of the whole file, as the store says

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer; fewer bytes than its length only at the end."""

    def close(self) -> None: ...


class Store(Protocol):
    """What can be read. Raises NotFound, Denied, Unreachable; retries are the caller's."""

    @property
    def image(self) -> str:
        """The digest of the OCI manifest that was read; empty where there is none."""

    def read(self, path: str, *, limit: int) -> bytes:
        """A whole small file."""

    def open(self, path: str, *, start: int, length: int) -> Stream:
        """`length` bytes from `start`."""

    def ranged(self, path: str) -> bool:
        """Whether parts can be asked for."""

    def close(self) -> None:
        """Let go of everything, also under a reader in another thread."""


class WritableStore(Protocol):
    """What can be written where layout.py's names are kept (see ../repository.py)."""

    def size(self, path: str) -> int | None:
        """Bytes of a stored file, None when there is none."""

    def write(self, path: str, source: Path, sent: Callable[[int], None]) -> None:
        """Store a file under an immutable name; `sent` is told of bytes as they go."""

    def current(self, path: str) -> tuple[bytes, str] | None:
        """A small mutable file and the tag of what was seen."""

    def put(self, path: str, content: bytes, *, seen: str | None) -> None:
        """Write a small file: only if there is none (`seen` None) or it is still the one seen; else Conflict."""

    def listed(self, below: str) -> Iterator[Listed]:
        """Every file whose path begins with `below`, in any order."""

    def delete(self, path: str) -> None:
        """Remove a file; one that is gone already is no error."""

    def close(self) -> None: ...


class Shelf(Protocol):
    """All that a store holds below one address."""

    def versions(self) -> Iterator[str]:
        """The addresses of the bundles there."""

    def sweep(self, before: float, *, dry_run: bool) -> list[Listed]:
        """Remove what no manifest names and is older than `before` (seconds since the epoch); what that was, or is."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Listed:
    """A stored file; `modified` in seconds since the epoch."""

    path: str
    bytes: int
    modified: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What a version is now: the bundle's digest, and the tag under which the store would change it."""

    digest: str
    tag: str


class Repository(Protocol):
    """Where one version of a bundle is published; safe to use from several threads."""

    def seen(self) -> Seen | None:
        """What the version is now; None when there is none."""

    def wanted(self, bundle: BundleDir) -> list[FileEntry]:
        """The files to send, each content once where the store keeps files by content."""

    def share(self, repository: str) -> None:
        """Take what another repository of the same registry has from there; Invalid where that is impossible."""

    def send(self, entry: FileEntry, source: Path, sent: Callable[[int], None]) -> bool:
        """Store one file unless it is there; whether it was sent. `sent` is told of bytes as they go."""

    def seal(self, bundle: BundleDir, signature: bytes | None) -> None:
        """Store the manifest and its signature under its digest."""

    def publish(self, bundle: BundleDir, seen: Seen | None) -> None:
        """Make the version this bundle, if it still is what was seen; else Conflict."""

    def pinned(self, bundle: BundleDir) -> str:
        """The address that is this bundle for ever."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Scheme:
    """The module of a scheme and its names there: what reads a bundle, publishes one, lists them ("": nothing does)."""

    module: str
    reader: str
    publisher: str = ""
    shelf: str = ""

    def named(self, name: str) -> Any:
        """Imported when it is first used."""
        return getattr(importlib.import_module(self.module), name)


SCHEMES: dict[str, Scheme] = {
    "file": Scheme("tidegate.bundle.stores.file", "FileStore", "repository", "shelf"),
    "s3": Scheme("tidegate.bundle.stores.s3", "S3Store", "repository", "shelf"),
    "https": Scheme("tidegate.bundle.stores.https", "HttpsStore"),
    "oci": Scheme("tidegate.bundle.stores.oci", "OciStore", "OciRepository", "OciShelf"),
}


def open_store(uri: BundleUri, access: Access) -> Store:
    """The store that holds this bundle."""
    scheme = _scheme(uri)
    store: Store = scheme.named(scheme.reader)(uri, access)
    return store


def open_repository(uri: BundleUri, access: Access) -> Repository:
    """Where to publish a bundle under this address."""
    scheme = _scheme(uri)
    if not scheme.publisher:
        raise Invalid(f"{uri.scheme}:// stores can only be read", where=str(uri), do="push to s3://, oci:// or file://")
    repository: Repository = scheme.named(scheme.publisher)(uri, access)
    return repository


def open_shelf(place: BundleUri, access: Access) -> Shelf:
    """What a store holds below this address, which names no version."""
    scheme = _scheme(place)
    if not scheme.shelf:
        raise Invalid(
            f"{place.scheme}:// stores cannot be listed", where=str(place), do="name s3://, oci:// or file://"
        )
    shelf: Shelf = scheme.named(scheme.shelf)(place, access)
    return shelf


def _scheme(uri: BundleUri) -> Scheme:
    if uri.scheme not in SCHEMES:
        known = " ".join(f"{scheme}://" for scheme in SCHEMES)
        raise Invalid(f"no store speaks {uri.scheme}://", where=str(uri), do=f"use one of {known}")
    return SCHEMES[uri.scheme]
