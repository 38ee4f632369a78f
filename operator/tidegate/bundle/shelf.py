"""What a store of names holds: its versions, and the blobs that no manifest names.

A push that was broken off leaves blobs without a manifest.  They are swept when they are old: a push that still runs is
younger.  Manifests are never swept, because pods of a replaced version still fetch by its digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from tidegate.bundle.errors import BundleError, Refused
from tidegate.bundle.manifest import MAX_MANIFEST_BYTES, parse_manifest
from tidegate.bundle.paths import MANIFEST_NAME
from tidegate.bundle.stores import Listed, WritableStore
from tidegate.bundle.uri import BundleUri

MANIFEST = re.compile(r"manifests/sha256/[0-9a-f]{64}\.yaml")
BLOB = re.compile(r"blobs/sha256/[^/]+")


class LayoutShelf:
    """Everything below one path of a store of names."""

    def __init__(self, store: WritableStore, place: BundleUri) -> None:
        self._store = store
        self._place = place
        self._below = f"{place.path}/" if place.path else ""

    def versions(self) -> Iterator[str]:
        for file in self._store.listed(self._below):
            folder, _, name = file.path.rpartition("/")
            if name == MANIFEST_NAME and folder:
                yield str(replace(self._place, path=folder))

    def sweep(self, before: float, *, dry_run: bool) -> list[Listed]:
        files = list(self._store.listed(self._below))
        old = [file for file in files if self._is(BLOB, file) and file.modified < before]
        named = self._named(files)
        gone = [file for file in old if file.path not in named]
        if gone and not dry_run:
            # Looked at again: a push may meanwhile have found one of them there, and named it.
            named = self._named(list(self._store.listed(self._below)))
            gone = [file for file in gone if file.path not in named]
            for file in gone:
                self._store.delete(file.path)
        return gone

    def close(self) -> None:
        self._store.close()

    def _is(self, form: re.Pattern[str], file: Listed) -> bool:
        return form.fullmatch(file.path.removeprefix(self._below)) is not None

    def _named(self, files: list[Listed]) -> set[str]:
        """The paths of the blobs that any manifest names; a manifest that cannot be read ends it: nothing is safe."""
        named: set[str] = set()
        for file in files:
            name = file.path.removeprefix(self._below)
            if MANIFEST.fullmatch(name) or (name.count("/") == 1 and name.endswith(f"/{MANIFEST_NAME}")):
                named |= {f"{self._below}blobs/sha256/{entry}" for entry in self._entries(file.path)}
        return named

    def _entries(self, path: str) -> Iterator[str]:
        found = self._store.current(path)
        if found is None:
            return
        try:
            manifest = parse_manifest(found[0][: MAX_MANIFEST_BYTES + 1], where=path)
        except BundleError as error:
            raise Refused(
                f"cannot be read, so nothing was removed ({error.what})", where=path, do="mend or remove it first"
            ) from None
        yield from (entry.sha256 for entry in manifest.files)
