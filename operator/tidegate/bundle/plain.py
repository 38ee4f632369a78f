"""Fetching an encrypted bundle as the one that it was made from."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from tidegate.bundle.encryption import decrypt, read_identities
from tidegate.bundle.fetch import Fetched, fetch
from tidegate.bundle.source import Progress, Source


def fetch_plain(source: Source, folder: Path, identity: Path, *, progress: Progress | None = None) -> Fetched:
    """Decrypt it into the new `folder` with the age keys in `identity`; anywhere else only ciphertext is written."""
    keys = read_identities(identity)  # before anything is fetched
    with tempfile.TemporaryDirectory(prefix="tidegate-") as temporary:
        fetched = fetch(source, Path(temporary) / "encrypted", progress=progress)
        plain = decrypt(fetched.path, folder, keys, str(identity))
    return replace(fetched, path=plain.path, digest=plain.digest, manifest=plain.manifest)
