"""The image that holds a pod's namespaces open: one static program that waits, as a Docker archive."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

NAME = "tidegate.test/pause:1"
COMMAND = ["/busybox", "tail", "-f", "/dev/null"]


def write(busybox: Path, archive: Path) -> Path:
    """Make `archive` of the static program; `ctr images import` reads it."""
    layer = packed({"busybox": busybox.read_bytes()})
    digest = "sha256:" + hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": "amd64", "os": "linux", "config": {"Entrypoint": COMMAND, "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }  # fmt: skip
    manifest = [{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    files = {"manifest.json": json.dumps(manifest).encode(), "config.json": json.dumps(config).encode()}
    archive.write_bytes(packed({**files, "layer.tar": layer}))
    return archive


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()
