"""Reading a bundle from a registry: the image is found once, small files are proved whole, large ones read in parts.

Which image: the one the address pins; else, for whoever knows the bundle's digest, the tag that always is this bundle;
else the version's tag, whatever it is by now.
"""

from __future__ import annotations

import hashlib
import threading
from http import HTTPStatus

from tidegate.bundle import layout
from tidegate.bundle.digest import require_digest
from tidegate.bundle.errors import DigestMismatch, NotFound, TooLarge, Unreachable
from tidegate.bundle.paths import SIGNATURE_NAME
from tidegate.bundle.source import Access
from tidegate.bundle.stores.oci.image import INDEX_TYPE, MANIFEST_TYPE, MAX_DOCUMENT, Image, parse_image
from tidegate.bundle.stores.oci.layers import Layer
from tidegate.bundle.stores.oci.naming import bundle_tag, names_of
from tidegate.bundle.stores.oci.referrers import read_signature
from tidegate.bundle.stores.oci.registry import Registry
from tidegate.bundle.stores.web import CONTENT_RANGE, WebStream
from tidegate.bundle.transport import Response
from tidegate.bundle.uri import BundleUri

# An index is asked for too, so that what is there is named rather than missed.
ACCEPT = f"{MANIFEST_TYPE}, {INDEX_TYPE}"


class OciStore:
    """The files of one bundle below its version's path; there are no others."""

    def __init__(self, uri: BundleUri, access: Access) -> None:
        self._uri = uri
        self._names = names_of(uri)
        self._registry = Registry(uri, access, [self._names.scope("pull")])
        self._lock = threading.Lock()
        self._found: Image | None = None

    def read(self, path: str, *, limit: int) -> bytes:
        name = self._name(path)
        if name == SIGNATURE_NAME:
            return read_signature(self._registry, self._names, self._image(), limit=limit)
        layer = self._layer(name)
        if layer.bytes > limit:
            raise TooLarge(f"{layer.bytes} bytes, more than the {limit} allowed", where=self._where(name))
        content = whole_blob(self._registry, self._names.blob(layer.digest), layer, self._where(name))
        return content[layer.offset : layer.offset + layer.bytes]

    def open(self, path: str, *, start: int, length: int) -> WebStream:
        layer = self._layer(self._name(path))
        response = self._part(layer, layer.offset + start, max(length, 1))
        return WebStream(response, layer.bytes, length)

    def ranged(self, path: str) -> bool:  # noqa: ARG002  (a registry that gives no parts is told by the first one)
        return True

    def close(self) -> None:
        self._registry.close()

    @property
    def image(self) -> str:
        return self._image().digest

    def _name(self, path: str) -> str:
        """The bundle's own name for a path; the other names of layout.py are not a registry's."""
        prefix = layout.version_path(self._uri, "")
        if not path.startswith(prefix):
            raise NotFound("not there", where=self._where(path), do="check the address")
        return path.removeprefix(prefix)

    def _layer(self, name: str) -> Layer:
        layer = self._image().layers.get(name)
        if layer is None:
            raise NotFound("no layer of the image holds it", where=self._where(name), do="push the bundle again")
        return layer

    def _image(self) -> Image:
        with self._lock:
            if self._found is None:
                self._found = self._find()
            return self._found

    def _find(self) -> Image:
        if self._uri.image:
            return self._manifest(self._uri.image)
        if self._uri.digest:
            try:
                return self._manifest(bundle_tag(self._uri.digest))
            except NotFound:
                pass  # copied by a tool that took the version's tag alone
        return self._manifest(self._names.tag)

    def _manifest(self, reference: str) -> Image:
        where = str(self._uri)
        path = self._names.manifest(reference)
        raw = self._registry.get(path, accept=ACCEPT, limit=MAX_DOCUMENT, where=where)
        if reference == self._uri.image:
            require_digest(raw, reference, where=where)
        return parse_image(raw, where)

    def _part(self, layer: Layer, start: int, length: int) -> Response:
        """`length` bytes of a layer from `start`, whose size must be the one the image names."""
        where = self._where(layer.path)
        wanted = {"Range": f"bytes={start}-{start + length - 1}"}
        response = self._registry.blob(self._names.blob(layer.digest), wanted, where)
        match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        total = int(match[3]) if match else _total(response)
        if total != layer.size:
            response.close()
            raise wrong_size(total, layer.size, where)
        if match is None and response.status == HTTPStatus.OK:
            _skip(response, start, where)
        elif match is None or int(match[1]) != start:
            response.close()
            raise Unreachable("the registry gave another part than it was asked for", where=where)
        return response

    def _where(self, name: str) -> str:
        return f"{self._uri}: {name}"


def whole_blob(registry: Registry, path: str, wanted: Layer, where: str) -> bytes:
    """A small blob, proved by its digest."""
    response = registry.blob(path, {}, where)
    try:
        content = response.read(wanted.size)
    except TooLarge:
        raise wrong_size(wanted.size + 1, wanted.size, where) from None
    finally:
        response.close()
    if len(content) != wanted.size:
        raise wrong_size(len(content), wanted.size, where)
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != wanted.digest:
        raise DigestMismatch("not the layer that the image names", where=where, do="push the bundle again")
    return content


def wrong_size(found: int, expected: int, where: str) -> DigestMismatch:
    return DigestMismatch(
        f"the layer has {found} bytes in the registry, the image names {expected}",
        where=where,
        do="it was cut or damaged there: push the bundle again",
    )


def _total(response: Response) -> int:
    """The size of a blob whose answer is not a part of it: all of it (200), or none (416: `bytes */N`)."""
    given = response.headers.get("Content-Range", "").removeprefix("bytes */")
    text = given if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE else ""
    text = text or response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else -1


def _skip(response: Response, count: int, where: str) -> None:
    """Read past the beginning, for a registry that gives blobs only whole."""
    scratch = memoryview(bytearray(2**16))
    while count:
        got = response.readinto(scratch[: min(count, len(scratch))])
        if not got:
            response.close()
            raise Unreachable("the connection was cut", where=where)
        count -= got
