"""The signature as a referrer of the image: signing changes no digest, and tools that copy referrers take it along.

Registries list referrers by an API, or, where they lack it, in an index under a tag made from the digest, which then is
the writer's to keep (OCI distribution 1.1, "Unavailable Referrers API").
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import partial

from tidegate.bundle.digest import digest_of, hex_of
from tidegate.bundle.errors import DigestMismatch, NotFound
from tidegate.bundle.stores.oci.image import INDEX_TYPE, MANIFEST_TYPE, MAX_DOCUMENT, Image, Json, describe, document
from tidegate.bundle.stores.oci.image import parse as parse_document
from tidegate.bundle.stores.oci.naming import Names, referrers_tag
from tidegate.bundle.stores.oci.registry import Registry
from tidegate.bundle.stores.oci.uploading import Uploader
from tidegate.errors import Invalid

SIGNATURE_TYPE = "application/vnd.tidegate.signature.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
CREATED = "org.opencontainers.image.created"


def read_signature(registry: Registry, names: Names, image: Image, *, limit: int) -> bytes:
    """The newest signature of an image; NotFound when there is none."""
    where = f"signature of {image.digest}"
    newest = _newest(_listed(registry, names, image))
    if newest is None:
        raise NotFound("not there", where=where, do="sign the bundle (tidegate sign) and push it again")
    raw = _proved(registry.get(names.manifest(newest), accept=MANIFEST_TYPE, limit=MAX_DOCUMENT, where=where), newest)
    try:
        blob = str(parse_document(raw, where)["layers"][0]["digest"])
        hex_of(blob)
    except (KeyError, IndexError, TypeError, Invalid):
        raise NotFound("its referrer holds none", where=where, do="push the bundle again") from None
    response = registry.blob(names.blob(blob), {}, where)
    try:
        return _proved(response.read(limit), blob)
    finally:
        response.close()


def write_signature(uploader: Uploader, image: Image, signature: bytes, *, limit: int) -> None:
    """Attach a signature, unless the newest one is this already."""
    registry, names = uploader.registry, uploader.names
    try:
        if read_signature(registry, names, image, limit=limit) == signature:
            return
    except (NotFound, DigestMismatch):
        pass  # written anew
    for content in (EMPTY, signature):
        uploader.upload(digest_of(content), len(content), partial(list, [content]))
    raw = _referrer(image, signature)
    response = uploader.put_manifest(digest_of(raw), raw, MANIFEST_TYPE)
    if "OCI-Subject" not in response:  # the registry keeps no list of its own
        _list_by_tag(uploader, image, raw)


def _referrer(image: Image, signature: bytes) -> bytes:
    return document(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": SIGNATURE_TYPE,
            "config": describe(EMPTY_TYPE, digest_of(EMPTY), len(EMPTY)),
            "layers": [describe(SIGNATURE_TYPE, digest_of(signature), len(signature))],
            "subject": image.descriptor,
            "annotations": {CREATED: datetime.now(UTC).isoformat()},
        }
    )


def _listed(registry: Registry, names: Names, image: Image) -> list[Json]:
    """What refers to an image."""
    for path in (names.referrers(image.digest), names.manifest(referrers_tag(image.digest))):
        try:
            raw = registry.get(path, accept=INDEX_TYPE, limit=MAX_DOCUMENT, where=image.digest)
        except NotFound:
            continue
        rows = parse_document(raw, image.digest).get("manifests")
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return []


def _newest(rows: list[Json]) -> str | None:
    signatures = [row for row in rows if row.get("artifactType") == SIGNATURE_TYPE]
    newest = max(signatures, key=lambda row: str((row.get("annotations") or {}).get(CREATED, "")), default=None)
    return str(newest.get("digest")) if newest else None


def _list_by_tag(uploader: Uploader, image: Image, raw: bytes) -> None:
    """Write the list under its tag: our newest signature, and whatever else others have attached."""
    others = [
        row for row in _listed(uploader.registry, uploader.names, image) if row.get("artifactType") != SIGNATURE_TYPE
    ]
    ours = {
        **describe(MANIFEST_TYPE, digest_of(raw), len(raw)),
        "artifactType": SIGNATURE_TYPE,
        "annotations": parse_document(raw, image.digest)["annotations"],
    }
    index = document({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*others, ours]})
    uploader.put_manifest(referrers_tag(image.digest), index, INDEX_TYPE)


def _proved(content: bytes, digest: str) -> bytes:
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
        raise DigestMismatch("not the bytes that the registry's list names", where=digest, do="push the bundle again")
    return content
