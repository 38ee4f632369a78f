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
from collections.abc import Callable, Iterable, Iterator
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
    """What an image names by its digest, `sha256:` and 64 hexadecimal digits; `content` gives it anew at each call.

    Nothing of it is written to a disk before it is written to an archive.
    """

    content: Callable[[], Iterable[bytes]]
    digest: str
    size: int

    def described(self, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": self.digest, "size": self.size}


def blob(content: Callable[[], Iterable[bytes]]) -> Blob:
    digest, size = hashlib.sha256(), 0
    for chunk in content():
        digest.update(chunk)
        size += len(chunk)
    return Blob(content, f"sha256:{digest.hexdigest()}", size)


def layer(tree: Path) -> Blob:
    """The files under `tree`, an overlay's upper folder, as a layer: root's, from 1970, in the order of their names."""
    return blob(lambda: packed(entries(tree)))


def document(content: dict[str, Any]) -> Blob:
    text = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return blob(lambda: [text])


def packed(files: Iterable[tuple[tarfile.TarInfo, Iterable[bytes]]]) -> Iterator[bytes]:
    """An archive of files: what `tar` calls each, and its content."""
    for member, content in files:
        yield member.tobuf(tarfile.PAX_FORMAT)
        yield from content
        yield bytes(-member.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def entries(tree: Path) -> Iterator[tuple[tarfile.TarInfo, Iterable[bytes]]]:
    """What a layer has of each file under `tree`."""
    with tarfile.open(fileobj=BytesIO(), mode="w") as known:  # nothing is written to it: it knows hard links again
        for path in walked(tree):
            yield entry(known, path, str(path.relative_to(tree)))


def walked(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from walked(path)


def entry(known: tarfile.TarFile, path: Path, name: str) -> tuple[tarfile.TarInfo, Iterable[bytes]]:
    status = path.lstat()
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:  # overlayfs says so that a file below is gone
        parent, _, last = name.rpartition("/")
        return tarfile.TarInfo(f"{parent}/.wh.{last}".lstrip("/")), ()
    if stat.S_ISDIR(status.st_mode) and "user.overlay.opaque" in os.listxattr(path):
        raise OSError(
            f"{name} replaces a folder of the layer below, which is not written here: remove its files singly"
        )
    found = known.gettarinfo(path, name)
    found.uid = found.gid = found.mtime = 0
    found.uname = found.gname = ""
    return found, chunks(path) if found.isreg() else ()


def chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            yield chunk


def write_image(name: str, configuration: dict[str, Any], layers: list[Blob], archive: Path) -> str:
    """Write an archive that `ctr images import`, `skopeo` and `podman load` take; returns the image's digest.

    `name` is what it will be called, with its tag; `configuration` is the image's, without its layers.
    """
    found = {**configuration, "rootfs": {"type": "layers", "diff_ids": [one.digest for one in layers]}}
    config = document(found)
    manifest = document({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.described(CONFIG),
        "layers": [one.described(LAYER) for one in layers],
    })  # fmt: skip
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = document({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{**manifest.described(MANIFEST), "annotations": names}],
    })  # fmt: skip
    files = {f"blobs/{one.digest.replace(':', '/')}": one for one in (config, manifest, *layers)}
    files = dict(sorted(files.items())) | {"index.json": index, "oci-layout": document({"imageLayoutVersion": "1.0.0"})}
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_name(archive.name + ".new")
    with unfinished.open("wb") as written:
        written.writelines(packed((named(name, one), one.content()) for name, one in files.items()))
    unfinished.replace(archive)
    return manifest.digest


def named(name: str, content: Blob) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = content.size
    return member
