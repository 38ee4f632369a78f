"""The names of things in a store: a repository of blobs, manifests and versions, or a plain copy of a directory.

    R/blobs/sha256/<hex>                    every file, by content, immutable
    R/manifests/sha256/<hex>.yaml and .sig  every manifest and its signature, immutable
    R/<version>/bundle.yaml                 the only thing that may be replaced: a copy of one manifest

A reader looks for content by digest first, so a version that was replaced still gives its old bytes to whoever knows
the digest, and falls back to `R/<version>/<path>`, so that a directory copied by any tool works too.
"""

from __future__ import annotations

from tidegate.bundle.digest import PREFIX
from tidegate.bundle.manifest import FileEntry
from tidegate.bundle.paths import MANIFEST_NAME, SIGNATURE_NAME
from tidegate.bundle.uri import BundleUri


def blob_path(uri: BundleUri, sha256: str) -> str:
    return _below(uri.repository, f"blobs/sha256/{sha256}")


def manifest_path(uri: BundleUri, digest: str) -> str:
    return _below(uri.repository, f"manifests/sha256/{digest.removeprefix(PREFIX)}.yaml")


def signature_path(uri: BundleUri, digest: str) -> str:
    return _below(uri.repository, f"manifests/sha256/{digest.removeprefix(PREFIX)}.sig")


def version_path(uri: BundleUri, name: str = MANIFEST_NAME) -> str:
    return _below(uri.path, name)


def manifest_places(uri: BundleUri) -> list[str]:
    """Where the manifest may be, best first."""
    plain = version_path(uri)
    return [manifest_path(uri, uri.digest), plain] if uri.digest else [plain]


def signature_places(uri: BundleUri, digest: str) -> list[str]:
    return [signature_path(uri, digest), version_path(uri, SIGNATURE_NAME)]


def file_places(uri: BundleUri, entry: FileEntry) -> list[str]:
    return [blob_path(uri, entry.sha256), version_path(uri, entry.path)]


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
