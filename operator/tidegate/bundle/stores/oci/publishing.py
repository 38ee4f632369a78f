"""Publishing a bundle to a registry: layers, then the image under the bundle's own tag, and the version last of all.

Registries know no conditions: of two pushes of one version at the same moment the later one wins, as a whole, and the
other is told.  A registry with immutable tags refuses it instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tidegate.bundle.digest import digest_of
from tidegate.bundle.errors import Conflict, ManifestInvalid, NotFound
from tidegate.bundle.manifest import BundleDir, FileEntry
from tidegate.bundle.paths import MANIFEST_NAME, MAX_SIGNATURE_BYTES
from tidegate.bundle.source import Access
from tidegate.bundle.stores import Seen
from tidegate.bundle.stores.oci.image import MANIFEST_TYPE, MAX_DOCUMENT, Image, config_of, image_of, parse_image
from tidegate.bundle.stores.oci.layers import Layer, layer_of, pieces
from tidegate.bundle.stores.oci.naming import Names, bundle_tag, names_of
from tidegate.bundle.stores.oci.reading import ACCEPT
from tidegate.bundle.stores.oci.referrers import write_signature
from tidegate.bundle.stores.oci.registry import Registry
from tidegate.bundle.stores.oci.uploading import Uploader
from tidegate.bundle.uri import REPOSITORY, BundleUri
from tidegate.errors import Invalid


class OciRepository:
    """One tag of one repository."""

    def __init__(self, uri: BundleUri, access: Access) -> None:
        self._uri = uri
        self._names = names_of(uri)
        self._registry = Registry(uri, access, [self._names.scope("pull", "push")])
        self._uploader = Uploader(self._registry, self._names, str(uri))
        self._lock = threading.Lock()
        self._layers: dict[str, Layer] = {}
        self._sealed: Image | None = None

    def seen(self) -> Seen | None:
        try:
            raw = self._tagged(self._names.tag)
        except NotFound:
            return None
        try:
            return Seen(parse_image(raw, str(self._uri)).bundle, digest_of(raw))
        except ManifestInvalid:
            return Seen("an image that is no bundle", digest_of(raw))

    def share(self, repository: str) -> None:
        if not REPOSITORY.fullmatch(repository):
            raise Invalid(f"'{repository[:120]}' is no repository", where="--mount-from", do="write models/digits")
        self._registry.scopes.append(Names(repository, "").scope("pull"))
        self._uploader.mount_from = repository

    def wanted(self, bundle: BundleDir) -> list[FileEntry]:
        return list(bundle.manifest.files)

    def send(self, entry: FileEntry, source: Path, sent: Callable[[int], None]) -> bool:
        layer = self._layers.get(entry.path) or layer_of(entry.path, source, entry.bytes)  # read once, asked for twice
        with self._lock:
            self._layers[entry.path] = layer
        return self._uploader.upload(
            layer.digest, layer.size, lambda: _told(pieces(entry.path, source, entry.bytes), entry.bytes, sent)
        )

    def seal(self, bundle: BundleDir, signature: bytes | None) -> None:
        name, path, count = MANIFEST_NAME, bundle.path / MANIFEST_NAME, len(bundle.raw)
        manifest = layer_of(name, path, count)
        self._uploader.upload(manifest.digest, manifest.size, lambda: pieces(name, path, count))
        layers = [manifest, *(self._layers[entry.path] for entry in bundle.manifest.files)]
        config = config_of(layers)
        self._uploader.upload(digest_of(config), len(config), lambda: [config])
        image = self._sealed = image_of(bundle, layers)
        self._tag(bundle_tag(bundle.digest), image)
        if signature is not None:
            write_signature(self._uploader, image, signature, limit=MAX_SIGNATURE_BYTES)

    def publish(self, bundle: BundleDir, seen: Seen | None) -> None:  # noqa: ARG002  (it is sealed already)
        if self.seen() != seen:
            raise _moved(self._uri)
        image = self._image()
        self._uploader.put_manifest(self._names.tag, image.raw, MANIFEST_TYPE)
        if digest_of(self._tagged(self._names.tag)) != image.digest:
            raise _moved(self._uri)

    def pinned(self, bundle: BundleDir) -> str:  # noqa: ARG002
        return f"{self._uri}@{self._image().digest}"

    def close(self) -> None:
        self._registry.close()

    def _image(self) -> Image:
        assert self._sealed is not None  # push.py seals before it publishes
        return self._sealed

    def _tag(self, tag: str, image: Image) -> None:
        """Put the image under a tag, unless it is there: where tags are immutable, not even the same is taken again."""
        try:
            if digest_of(self._tagged(tag)) == image.digest:
                return
        except NotFound:
            pass
        self._uploader.put_manifest(tag, image.raw, MANIFEST_TYPE)

    def _tagged(self, tag: str) -> bytes:
        """The manifest under a tag."""
        path = self._names.manifest(tag)
        return self._registry.get(path, accept=ACCEPT, limit=MAX_DOCUMENT, where=str(self._uri))


def _told(layer: Iterable[bytes], count: int, sent: Callable[[int], None]) -> Iterator[bytes]:
    """The pieces of a layer; `sent` is told of the `count` bytes of the file in it, not of what is around them."""
    left = count
    for number, piece in enumerate(layer):
        yield piece
        if number and left:
            sent(min(left, len(piece)))
            left -= min(left, len(piece))


def _moved(uri: BundleUri) -> Conflict:
    return Conflict("another push was here meanwhile", where=str(uri), do="look at what is there now")
