"""The runtime's image for nodes without a GPU: the one for the CPU, with one layer more and another entry point.

The archive has what is new alone; a node that has the other image has the rest.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.e2e.images import Image
from tests.e2e.node.pause import packed

from image_build import oci

NAME = "registry.example.com/ml/tidegate-runtime:0.1.0-pretended-gpu"
ROOT = Path(__file__).parents[3]
ADDED = ("tests/e2e/node/on_gpu.py", "tests/runtime/gpu/pretended.py")
PACKAGES = "opt/tidegate/lib/python3.13/site-packages"
ENTRY = ["/opt/tidegate/bin/python", "-m", "tests.e2e.node.on_gpu"]


def write(cpu: Image, archive: Path) -> Path:
    """Make `archive` of the image for the CPU."""
    layer = packed({f"{PACKAGES}/{name}": (ROOT / name).read_bytes() for name in ADDED})
    config = cpu.configuration()
    config["config"]["Entrypoint"] = ENTRY
    config["rootfs"]["diff_ids"].append(digest(layer))
    manifest = cpu.manifest()
    manifest["config"] = described(blob := json.dumps(config).encode(), oci.CONFIG)
    manifest["layers"].append(described(layer, oci.LAYER))
    whole = json.dumps(manifest).encode()
    index = {
        "schemaVersion": 2, "mediaType": oci.INDEX,
        "manifests": [described(whole, oci.MANIFEST) | {"annotations": {"io.containerd.image.name": NAME}}],
    }  # fmt: skip
    blobs = {f"blobs/{digest(one).replace(':', '/')}": one for one in (layer, blob, whole)}
    rest = {"index.json": json.dumps(index).encode(), "oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    archive.write_bytes(packed(blobs | rest))
    return archive


def described(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
