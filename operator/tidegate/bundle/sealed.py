"""What a manifest says of encryption: of the bundle as a whole, and of each file that is encrypted."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidegate.bundle.fields import Fields

AGE = "age"
HMAC = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Plain:
    """What an encrypted file decrypts to: its size, and its HMAC-SHA256 under the bundle's own key."""

    bytes: int
    hmac_sha256: str  # 64 hex digits


@dataclass(frozen=True, slots=True)
class Encryption:
    """How the files of an encrypted bundle are read: `key` is the key of their HMACs, as an age file in base64."""

    format: str
    key: str


def read_plain(fields: Fields | None, size: int) -> Plain | None:
    """The row of an encrypted file of this size, if it is one.

    An age file is longer than its content, and what a bundle may have in files is limited: so the memory is that it
    decrypts into.
    """
    if fields is None:
        return None
    plain = Plain(fields.integer("bytes"), fields.text("hmacSha256", pattern=HMAC))
    fields.done()
    if plain.bytes >= size:
        raise fields.refuse("bytes", f"is {plain.bytes}, an encrypted file of {size} holds less")
    return plain


def read_encryption(fields: Fields | None) -> Encryption | None:
    """How the bundle is read, if it is encrypted."""
    if fields is None:
        return None
    encryption = Encryption(fields.text("format"), fields.text("key"))
    fields.done()
    if encryption.format != AGE:
        raise fields.refuse("format", f"is '{encryption.format[:40]}', this tidegate reads {AGE}")
    return encryption
