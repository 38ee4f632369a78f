"""Writes an image in the OCI layout, the same bytes for the same content: no times, no owners, no order of the disk's.

Layers are not compressed: what gzip writes differs between versions of zlib, and a registry's client compresses anyway.
Format: https://github.com/opencontainers/image-spec (1.1).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
INDEX = "application/vnd.oci.image.index.v1+json"
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Blob:
    """A file that an image names by its digest; `sha256:` and 64 hexadecimal digits."""

    path: Path
    digest: str
    size: int

    def described(self, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": self.digest, "size": self.size}


def layer(tree: Path, blobs: Path) -> Blob:
    """The files under `tree`, an overlay's upper folder, as a layer: root's, from 1970, in the order of their names."""
    unfinished = blobs / "unfinished"
    with tarfile.open(unfinished, "w", format=tarfile.PAX_FORMAT) as made:
        for path in walked(tree):
            add(made, path, str(path.relative_to(tree)))
    return stored(unfinished, blobs)


def walked(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from walked(path)


def add(made: tarfile.TarFile, path: Path, name: str) -> None:
    status = path.lstat()
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:  # overlayfs says so that a file below is gone
        parent, _, last = name.rpartition("/")
        made.addfile(tarfile.TarInfo(f"{parent}/.wh.{last}".lstrip("/")))
        return
    if stat.S_ISDIR(status.st_mode) and "user.overlay.opaque" in os.listxattr(path):
        raise OSError(
            f"{name} replaces a folder of the layer below, which is not written here: remove its files singly"
        )
    member = made.gettarinfo(path, name)
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    if member.isreg():
        with path.open("rb") as content:
            made.addfile(member, content)
    else:
        made.addfile(member)


def stored(unfinished: Path, blobs: Path) -> Blob:
    """A finished file under the name of its digest."""
    digest = hashlib.sha256()
    with unfinished.open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    path = unfinished.rename(blobs / digest.hexdigest())
    return Blob(path, f"sha256:{digest.hexdigest()}", path.stat().st_size)


def document(content: dict[str, Any], blobs: Path) -> Blob:
    unfinished = blobs / "unfinished"
    unfinished.write_text(json.dumps(content, sort_keys=True, separators=(",", ":")))
    return stored(unfinished, blobs)


def write_image(name: str, configuration: dict[str, Any], layers: list[Blob], blobs: Path, archive: Path) -> str:
    """Write an archive that `ctr images import`, `skopeo` and `podman load` take; returns the image's digest.

    `name` is what it will be called, with its tag; `configuration` is the image's, without its layers.
    """
    found = {**configuration, "rootfs": {"type": "layers", "diff_ids": [one.digest for one in layers]}}
    config = document(found, blobs)
    manifest = document(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.described(CONFIG),
            "layers": [one.described(LAYER) for one in layers],
        },
        blobs,
    )
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{**manifest.described(MANIFEST), "annotations": names}],
    }
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_name(archive.name + ".new")
    with tarfile.open(unfinished, "w", format=tarfile.PAX_FORMAT) as made:
        for blob in sorted(
            {one.digest: one for one in (config, manifest, *layers)}.values(), key=lambda one: one.digest
        ):
            member = tarfile.TarInfo(f"blobs/sha256/{blob.path.name}")
            member.size = blob.size
            with blob.path.open("rb") as content:
                made.addfile(member, content)
        for file, text in (("index.json", index), ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
            content_of_file = json.dumps(text, sort_keys=True).encode()
            member = tarfile.TarInfo(file)
            member.size = len(content_of_file)
            made.addfile(member, BytesIO(content_of_file))
    unfinished.replace(archive)
    return manifest.digest
