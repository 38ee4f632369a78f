"""Where bundles live: one small protocol, one module each, one line each in `SCHEMES`.

A store speaks of whole paths below one bucket, host or file system; what the paths mean is layout.py's business.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

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

    def read(self, path: str, *, limit: int) -> bytes:
        """A whole small file."""

    def open(self, path: str, *, start: int, length: int) -> Stream:
        """`length` bytes from `start`."""

    def ranged(self, path: str) -> bool:
        """Whether parts can be asked for."""

    def close(self) -> None:
        """Let go of everything, also under a reader in another thread."""


class WritableStore(Protocol):
    """What can be written."""

    def size(self, path: str) -> int | None:
        """Bytes of a stored file, None when there is none."""

    def write(self, path: str, source: Path, sent: Callable[[int], None]) -> None:
        """Store a file under an immutable name; `sent` is told of bytes as they go."""

    def current(self, path: str) -> tuple[bytes, str] | None:
        """A small mutable file and the tag of what was seen."""

    def put(self, path: str, content: bytes, *, seen: str | None) -> None:
        """Write a small file: only if there is none (`seen` None) or it is still the one seen; else Conflict."""

    def close(self) -> None: ...


# scheme -> (module, class to read with, class to write with or ""); imported when first used.
SCHEMES: dict[str, tuple[str, str, str]] = {
    "file": ("tidegate.bundle.stores.file", "FileStore", "FileStore"),
    "s3": ("tidegate.bundle.stores.s3", "S3Store", "S3Writer"),
    "https": ("tidegate.bundle.stores.https", "HttpsStore", ""),
}


def open_store(uri: BundleUri, access: Access) -> Store:
    """The store that holds this bundle."""
    module, reader, _ = _scheme(uri)
    store: Store = getattr(importlib.import_module(module), reader)(uri, access)
    return store


def open_writer(uri: BundleUri, access: Access) -> WritableStore:
    """The store to publish a bundle to."""
    module, _, writer = _scheme(uri)
    if not writer:
        raise Invalid(f"{uri.scheme}:// stores can only be read", where=str(uri), do="push to s3:// or file://")
    store: WritableStore = getattr(importlib.import_module(module), writer)(uri, access)
    return store


def _scheme(uri: BundleUri) -> tuple[str, str, str]:
    if uri.scheme not in SCHEMES:
        known = " ".join(f"{scheme}://" for scheme in SCHEMES)
        raise Invalid(f"no store speaks {uri.scheme}://", where=str(uri), do=f"use one of {known}")
    return SCHEMES[uri.scheme]
