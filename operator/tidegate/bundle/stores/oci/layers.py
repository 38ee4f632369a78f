"""One file as a layer: an uncompressed tar of one regular file, the same bytes wherever and whenever it is made.

The content begins behind the header and ends where the padding begins, so that both can be told from two sizes.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tidegate.bundle.digest import PREFIX

RECORD = tarfile.BLOCKSIZE
END = 2 * RECORD  # what a tar ends with
BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class Layer:
    """A file of `bytes` bytes in a layer of `size` bytes."""

    path: str
    digest: str
    size: int
    bytes: int

    @property
    def offset(self) -> int:
        """Where the content begins: 512, or later behind the header of a long path."""
        return self.size - END - padded(self.bytes)


def padded(count: int) -> int:
    return -(-count // RECORD) * RECORD


def header(path: str, count: int) -> bytes:
    """What stands before the content; owner, time and mode are the same for all."""
    member = tarfile.TarInfo(path)
    member.size, member.mode = count, 0o444
    return member.tobuf(tarfile.PAX_FORMAT)


def pieces(path: str, source: Path, count: int) -> Iterator[bytes]:
    """The bytes of the layer; the file must hold `count` bytes, which its own digest has proved."""
    yield header(path, count)
    with source.open("rb") as file:
        while block := file.read(BLOCK):
            yield block
    yield bytes(padded(count) - count + END)


def layer_of(path: str, source: Path, count: int) -> Layer:
    """The layer of a file; reads it once."""
    sha256, size = hashlib.sha256(), 0
    for piece in pieces(path, source, count):
        sha256.update(piece)
        size += len(piece)
    return Layer(path, PREFIX + sha256.hexdigest(), size, count)
