"""Publishing where files have names: the layout of layout.py, written under conditions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tidegate.bundle import layout
from tidegate.bundle.digest import digest_of
from tidegate.bundle.errors import Conflict
from tidegate.bundle.manifest import BundleDir, FileEntry
from tidegate.bundle.stores import Seen, WritableStore
from tidegate.bundle.uri import BundleUri
from tidegate.errors import Invalid


class LayoutRepository:
    """One version in a store of names."""

    def __init__(self, store: WritableStore, uri: BundleUri) -> None:
        self._store = store
        self._uri = uri

    def seen(self) -> Seen | None:
        found = self._store.current(layout.version_path(self._uri))
        return Seen(digest_of(found[0]), found[1]) if found else None

    def wanted(self, bundle: BundleDir) -> list[FileEntry]:
        return list({entry.sha256: entry for entry in bundle.manifest.files}.values())

    def share(self, repository: str) -> None:
        raise Invalid(
            f"nothing can be mounted from {repository[:120]}",
            where=str(self._uri),
            do="only registries (oci://) do that",
        )

    def send(self, entry: FileEntry, source: Path, sent: Callable[[int], None]) -> bool:
        path = layout.blob_path(self._uri, entry.sha256)
        if self._store.size(path) == entry.bytes:
            return False
        self._store.write(path, source, sent)
        return True

    def seal(self, bundle: BundleDir, signature: bytes | None) -> None:
        if signature is not None:  # first: whoever finds the manifest may look for it at once
            self._keep(layout.signature_path(self._uri, bundle.digest), signature)
        self._keep(layout.manifest_path(self._uri, bundle.digest), bundle.raw)

    def publish(self, bundle: BundleDir, seen: Seen | None) -> None:
        self._store.put(layout.version_path(self._uri), bundle.raw, seen=seen.tag if seen else None)

    def pinned(self, bundle: BundleDir) -> str:
        return f"{self._uri}@{bundle.digest}"

    def close(self) -> None:
        self._store.close()

    def _keep(self, path: str, content: bytes) -> None:
        """Write a small file that is not this already; when somebody else wrote the same meanwhile, that is as good."""
        seen = self._store.current(path)
        if seen is not None and seen[0] == content:
            return
        try:
            self._store.put(path, content, seen=seen[1] if seen else None)
        except Conflict:
            found = self._store.current(path)
            if found is None or found[0] != content:
                raise
