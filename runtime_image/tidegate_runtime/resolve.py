"""`tidegate-runtime resolve URI`: what a rollout must know of a bundle before any of its files is fetched.

Only the manifest, its signature and labels.txt are read; of an encrypted bundle they are readable, and a key that is
given has to be one that opens it.  The answer fits a termination message; of a very large interface only the digest
does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from typing import Any

from tidegate.bundle.errors import DigestMismatch
from tidegate.bundle.fetch import DEFAULT_LIMITS
from tidegate.bundle.manifest import FileEntry, Interface, Manifest, TensorSpec
from tidegate.bundle.preflight import preflight_manifest
from tidegate.bundle.reader import BundleReader, Resolved
from tidegate_runtime.bundle_source import add_source_arguments, keys_for, source_of
from tidegate_runtime.outcome import add_log_argument, answer, fitting

RESOLUTION_VERSION = "tidegate.io/resolution/v1"
LABELS = "labels.txt"
MAX_LABELS_BYTES = 64 * 2**10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source_arguments(parser)
    add_log_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Resolve; the exit code."""
    return answer(lambda: _resolve(arguments), arguments.termination_log)


def _resolve(arguments: argparse.Namespace) -> dict[str, Any]:
    reader = BundleReader(source_of(arguments), DEFAULT_LIMITS)
    try:
        resolved = reader.resolve()
        preflight_manifest(resolved.manifest)
        if arguments.identity is not None:  # told before any pod waits for what only the right key opens
            keys_for(resolved.manifest, arguments)
        return resolution(resolved, read_labels(reader, resolved.manifest))
    finally:
        reader.close()


def resolution(resolved: Resolved, labels: list[str]) -> dict[str, Any]:
    """The answer about a bundle whose manifest is proved."""
    manifest = resolved.manifest
    proof = "Verified" if resolved.signature_checked else "Present" if resolved.signature else "Missing"
    shown = _interface(manifest.interface)
    document = {
        "apiVersion": RESOLUTION_VERSION,
        "uri": resolved.uri,
        "digest": resolved.digest,
        **({"image": resolved.image} if resolved.image else {}),
        "name": manifest.name,
        "version": manifest.version,
        "signature": proof,
        "golden": len(manifest.golden.files) if manifest.golden else 0,
        "files": len(manifest.files),
        "bytes": manifest.total_bytes,
        **({"plainBytes": manifest.plain_room} if manifest.encryption else {}),
        "interfaceDigest": hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest(),
        "labelsDigest": hashlib.sha256(json.dumps(labels).encode()).hexdigest(),
        "metrics": manifest.metric_values(),
        "labels": labels,
        "interface": shown,
    }
    return fitting(document, ("labels", "interface", "metrics"))


def _interface(interface: Interface) -> dict[str, Any]:
    return {"inputs": [_tensor(spec) for spec in interface.inputs], "outputs": [_tensor(s) for s in interface.outputs]}


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": spec.name, "type": spec.element_type, "shape": list(spec.shape)}
    return {**shown, "optional": True} if spec.optional else shown


def read_labels(reader: BundleReader, manifest: Manifest) -> list[str]:
    """The lines of labels.txt, which the interface rule compares; empty without such a file."""
    entry = manifest.entry(LABELS)
    if entry is None or not 0 < entry.bytes <= MAX_LABELS_BYTES:
        return []
    reader.prefer(entry)
    content = _read(reader, entry)
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise DigestMismatch("not the file that the manifest lists", where=LABELS, do="push the bundle again")
    return content.decode("utf-8", "replace").splitlines()


def _read(reader: BundleReader, entry: FileEntry) -> bytes:
    content = bytearray(entry.bytes)
    stream = reader.open(entry, 0, entry.bytes)
    try:
        count = stream.readinto(memoryview(content))
    finally:
        stream.close()
    return bytes(content[:count])
