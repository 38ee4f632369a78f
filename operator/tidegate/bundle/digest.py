"""Digests: `sha256:` and 64 hex digits, of exact bytes and nothing else."""

from __future__ import annotations

import hashlib
import re

from tidegate.bundle.errors import DigestMismatch
from tidegate.errors import Invalid

PREFIX = "sha256:"
HEX = re.compile(r"[0-9a-f]{64}")


def digest_of(content: bytes) -> str:
    """The digest of these bytes."""
    return PREFIX + hashlib.sha256(content).hexdigest()


def hex_of(digest: str) -> str:
    """The 64 hex digits of a digest; refuses what is none."""
    text = digest.removeprefix(PREFIX)
    if not digest.startswith(PREFIX) or not HEX.fullmatch(text):
        raise Invalid(f"'{digest[:80]}' is no digest", do="write sha256: and 64 hex digits in lower case")
    return text


def require_digest(content: bytes, expected: str, *, where: str) -> None:
    """Raise DigestMismatch unless the bytes have the digest that was named."""
    found = digest_of(content)
    if found != expected:
        raise DigestMismatch(
            f"expected {expected}, found {found}",
            where=where,
            do="the bundle there is another one or was damaged: push it again, or name the digest that is meant",
        )
