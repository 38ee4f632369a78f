"""Writes bundle.yaml: the only place where a manifest becomes bytes, once per bundle.

Every text is quoted, numbers that are no integers are written as quoted text, lines end with LF, nothing depends on
a YAML library's mood: the same manifest is always the same bytes, and what was written is read back before it counts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidegate.bundle.digest import digest_of
from tidegate.bundle.errors import ManifestInvalid
from tidegate.bundle.manifest import FORMAT_VERSION, FileEntry, Manifest, TensorSpec, parse_manifest
from tidegate.bundle.paths import MANIFEST_NAME

# Characters that JSON writes as they are and YAML does not allow, or breaks lines at.
ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
KEY = re.compile(r"[A-Za-z][A-Za-z0-9]*")


def write_manifest(manifest: Manifest, folder: Path) -> str:
    """Write `folder`/bundle.yaml, which must not exist yet, and give the bundle's digest."""
    content = render_manifest(manifest)
    with (folder / MANIFEST_NAME).open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return digest_of(content)


def render_manifest(manifest: Manifest) -> bytes:
    """The bytes of bundle.yaml for this manifest."""
    plain = _with_plain_mappings(manifest)
    content = ("\n".join(_block(_document(plain), 0)) + "\n").encode("utf-8")
    if parse_manifest(content) != plain:
        raise ManifestInvalid("the manifest does not read back as it was written", where=MANIFEST_NAME)
    return content


def _with_plain_mappings(manifest: Manifest) -> Manifest:
    """The author's own mappings as they will be read back: numbers that are no integers are text there."""
    return replace(
        manifest,
        training=_plain(manifest.training),
        preprocessing=_plain(manifest.preprocessing),
        parity=_plain(manifest.parity),
        environment=_plain(manifest.environment),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if _is_list(value):
        return [_plain(item) for item in value]
    return repr(value) if isinstance(value, float) else value


def _document(manifest: Manifest) -> dict[str, Any]:
    document: dict[str, Any] = {
        "formatVersion": FORMAT_VERSION,
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description,
        "license": manifest.license,
        "createdAt": manifest.created_at,
        "source": _source(manifest),
        "model": _model(manifest),
        "interface": {
            "inputs": [_tensor(tensor) for tensor in manifest.interface.inputs],
            "outputs": [_tensor(tensor) for tensor in manifest.interface.outputs],
        },
        "files": [_file(file) for file in manifest.files],
        "golden": _golden(manifest),
        "metrics": _metrics(manifest),
        "training": manifest.training,
        "preprocessing": manifest.preprocessing,
        "parity": manifest.parity,
        "lineage": _lineage(manifest),
        "environment": manifest.environment,
        "hints": _hints(manifest),
        "encryption": _encryption(manifest),
    }
    always = ("formatVersion", "name", "version", "model", "interface", "files")
    return {key: value for key, value in document.items() if key in always or value}


def _file(file: FileEntry) -> dict[str, Any]:
    row: dict[str, Any] = {"path": file.path, "bytes": file.bytes, "sha256": file.sha256}
    return {**row, "plain": {"bytes": file.plain.bytes, "hmacSha256": file.plain.hmac_sha256}} if file.plain else row


def _encryption(manifest: Manifest) -> dict[str, Any] | None:
    sealed = manifest.encryption
    return {"format": sealed.format, "key": sealed.key} if sealed else None


def _source(manifest: Manifest) -> dict[str, Any] | None:
    source = manifest.source
    if source is None:
        return None
    return {"repository": source.repository, "commit": source.commit, "dirty": source.dirty}


def _model(manifest: Manifest) -> dict[str, Any]:
    model = manifest.model
    return {
        "file": model.file,
        "opset": dict(sorted(model.opset.items())),
        "irVersion": model.ir_version,
        "minimumRuntime": model.minimum_runtime,
        "producer": model.producer,
    }


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    row: dict[str, Any] = {"name": tensor.name, "type": tensor.element_type, "shape": list(tensor.shape)}
    return {**row, "optional": True} if tensor.optional else row


def _golden(manifest: Manifest) -> dict[str, Any] | None:
    golden = manifest.golden
    if golden is None:
        return None
    return {
        "files": list(golden.files),
        "goldenSource": golden.source,
        "tolerance": [
            {
                "output": row.output,
                "device": row.device,
                "atol": row.atol,
                "rtol": row.rtol,
                "top1": row.top1,
                "labelOf": row.label_of,
            }
            for row in golden.tolerance
        ],
    }


def _metrics(manifest: Manifest) -> list[dict[str, Any]]:
    return [
        {
            "name": row.name,
            "value": row.value,
            "dataset": row.dataset,
            "datasetDigest": row.dataset_digest,
            "samples": row.samples,
        }
        for row in manifest.metrics
    ]


def _lineage(manifest: Manifest) -> dict[str, Any] | None:
    lineage = manifest.lineage
    if lineage is None:
        return None
    return {"parents": list(lineage.parents), "action": lineage.action}


def _hints(manifest: Manifest) -> dict[str, Any] | None:
    hints = manifest.hints
    if hints is None:
        return None
    return {"peakMemoryBytes": hints.peak_memory_bytes, "suggestedBatch": hints.suggested_batch}


def _block(value: Mapping[str, Any], indent: int) -> list[str]:
    """The lines of a mapping."""
    lines: list[str] = []
    pad = "  " * indent
    for key, item in value.items():
        name = key if KEY.fullmatch(key) else _quoted(key)
        if isinstance(item, Mapping) and item:
            lines += [f"{pad}{name}:", *_block(item, indent + 1)]
        elif _is_list(item) and any(isinstance(entry, Mapping) and entry for entry in item):
            lines += [f"{pad}{name}:", *_entries(item, indent + 1)]
        else:
            lines.append(f"{pad}{name}: {_inline(item)}")
    return lines


def _entries(items: Sequence[Any], indent: int) -> list[str]:
    lines: list[str] = []
    for item in items:
        if isinstance(item, Mapping) and item:
            first, *rest = _block(item, indent + 1)
            lines += ["  " * indent + "- " + first.lstrip(), *rest]
        else:
            lines.append("  " * indent + "- " + _inline(item))
    return lines


def _inline(value: Any) -> str:
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        return _quoted(repr(value))
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(key)}: {_inline(item)}" for key, item in value.items()) + "}"
    if _is_list(value):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    raise ManifestInvalid(f"a value of type {type(value).__name__} cannot stand in a manifest", where=MANIFEST_NAME)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _quoted(text: str) -> str:
    return ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))
