"""Files that are either whole or not there: written beside, flushed to the disk, renamed over."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

READ_LIMIT = 16 * 1024 * 1024


def write_whole(path: Path, content: bytes, *, durable: bool = True, mode: int = 0o644) -> None:
    """Replace `path` by `content` in one step; `durable` survives a loss of power, at the price of a disk flush."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError:  # a full disk: half a file would only keep it full
        beside.unlink(missing_ok=True)
        raise
    if durable:
        flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, document: object, *, durable: bool = True) -> None:
    write_whole(path, json.dumps(document, indent=1).encode(), durable=durable)


def read_json(path: Path) -> Any:
    """The document, or None when the file is missing, oversized or not JSON: state can be lost, never fatal."""
    try:
        with path.open("rb") as file:
            content = file.read(READ_LIMIT + 1)
        return json.loads(content) if len(content) <= READ_LIMIT else None
    except (OSError, ValueError):
        return None
