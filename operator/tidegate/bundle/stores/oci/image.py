"""The documents of an image: which layers hold a bundle, written and read.

They are JSON with sorted keys and hold no time, so the same bundle is the same image everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.bundle.digest import digest_of, hex_of
from tidegate.bundle.errors import ManifestInvalid, NoBundle
from tidegate.bundle.manifest import BundleDir
from tidegate.bundle.paths import MANIFEST_NAME
from tidegate.bundle.stores.oci.layers import RECORD, Layer
from tidegate.errors import Invalid

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
BUNDLE = "io.tidegate.bundle.digest"
PATH = "io.tidegate.path"
BYTES = "io.tidegate.bytes"
MAX_HEADER = 16 * RECORD  # before the content; that of a long path has three records
MAX_DOCUMENT = 4 * 2**20  # what every registry takes
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a bundle: the OCI manifest's bytes and digest, the bundle's digest, and the layers by path."""

    raw: bytes
    digest: str
    bundle: str
    layers: Mapping[str, Layer]

    @property
    def descriptor(self) -> Json:
        return describe(MANIFEST_TYPE, self.digest, len(self.raw))


def describe(media_type: str, digest: str, size: int) -> Json:
    return {"mediaType": media_type, "digest": digest, "size": size}


def document(content: Json) -> bytes:
    """The bytes of a document."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def config_of(layers: Iterable[Layer]) -> bytes:
    """An image config: without one no node would unpack the layers."""
    digests = [layer.digest for layer in layers]  # uncompressed: a layer's digest is that of its content
    return document({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": digests}})


def image_of(bundle: BundleDir, layers: Iterable[Layer]) -> Image:
    """The image of a bundle in these layers."""
    found = list(layers)
    config = config_of(found)
    manifest = bundle.manifest
    raw = document(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": describe(CONFIG_TYPE, digest_of(config), len(config)),
            "layers": [
                {
                    **describe(LAYER_TYPE, layer.digest, layer.size),
                    "annotations": {PATH: layer.path, BYTES: str(layer.bytes)},
                }
                for layer in found
            ],
            "annotations": {
                BUNDLE: bundle.digest,
                "org.opencontainers.image.title": manifest.name,
                "org.opencontainers.image.version": manifest.version,
            },
        }
    )
    return Image(raw, digest_of(raw), bundle.digest, {layer.path: layer for layer in found})


def parse_image(raw: bytes, where: str) -> Image:
    """The image in an OCI manifest; ManifestInvalid when it holds no bundle, or not as `tidegate push` puts one."""
    content = parse(raw, where)
    try:
        annotations = content.get("annotations") or {}
        bundle = str(annotations.get(BUNDLE, ""))
        hex_of(bundle)
        layers = [_layer(row, where) for row in content["layers"] if PATH in (row.get("annotations") or {})]
    except (KeyError, TypeError, ValueError, AttributeError, Invalid):
        raise _no_bundle(where) from None
    by_path = {layer.path: layer for layer in layers}
    if len(by_path) != len(layers) or MANIFEST_NAME not in by_path:
        raise _no_bundle(where)
    return Image(raw, digest_of(raw), bundle, by_path)


def parse(raw: bytes, where: str) -> Json:
    """A document of a registry."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ManifestInvalid("the registry gave something that is no OCI document", where=where)
    return content


def _layer(row: Json, where: str) -> Layer:
    annotations = row["annotations"]
    layer = Layer(str(annotations[PATH]), str(row["digest"]), int(row["size"]), int(annotations[BYTES]))
    hex_of(layer.digest)
    if row.get("mediaType") != LAYER_TYPE:
        raise ManifestInvalid(
            f"the layer of {layer.path[:120]} is no plain tar",
            where=where,
            do="it was packed again on its way: copy images unchanged, or push the bundle again",
        )
    if layer.bytes < 0 or not RECORD <= layer.offset <= MAX_HEADER or layer.offset % RECORD:
        raise ValueError(layer.path)
    return layer


def _no_bundle(where: str) -> NoBundle:
    return NoBundle("the image there holds no bundle", where=where, do="push one with tidegate push")
