"""Hiding what identifies people before rows become golden samples: columns are dropped, or their values hashed.

A plain hash of a name or a number of a customer is found again by trying all of them.  So the hash is keyed, and the
key is made of the data file's own bytes: who has the file gets the same bundle again, who has only the bundle cannot
try anything.  Metrics are measured on the real values; only what is published is hashed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tidegate.author.session import Array
from tidegate.errors import Invalid

PURPOSE = b"tidegate: columns of golden samples\n"
LENGTH = 16  # hex digits of a hashed text


def without(columns: Mapping[str, Array], dropped: Sequence[str], where: str) -> dict[str, Array]:
    """The columns that may be used at all."""
    for name in dropped:
        _require(name, columns, where, "--drop-columns")
    left = {name: array for name, array in columns.items() if name not in dropped}
    if not left:
        raise Invalid("no column is left", where="--drop-columns", do="drop fewer")
    return left


def hashed(columns: Mapping[str, Array], names: Sequence[str], key: bytes, where: str) -> dict[str, Array]:
    """The columns as they may be published: texts become 16 hex digits, whole numbers others between their ends."""
    for name in names:
        _require(name, columns, where, "--hash-columns")
    return {name: _hashed(name, array, key) if name in names else array for name, array in columns.items()}


def _require(name: str, columns: Mapping[str, Array], where: str, option: str) -> None:
    if name not in columns:
        known = ", ".join(sorted(columns))[:200]
        raise Invalid(f"{option}: there is no column '{name}', they are {known}", where=where)


def key_of_file(path: Path) -> bytes:
    """A key that only the content of this file gives."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.sha256(PURPOSE))
    return digest.digest()


def key_of_arrays(columns: Mapping[str, Array]) -> bytes:
    """A key that only these values give."""
    return digest_of_arrays(columns, PURPOSE).digest()


def digest_of_arrays(columns: Mapping[str, Array], begun_with: bytes = b"") -> hashlib._Hash:
    """Of names, types, shapes and values."""
    digest = hashlib.sha256(begun_with)
    for name in sorted(columns):
        array = np.asarray(columns[name])
        digest.update(f"{name}\n{array.dtype.str} {array.shape}\n".encode())
        texts = array.dtype.kind in "OUS"
        digest.update(repr(array.tolist()).encode() if texts else np.ascontiguousarray(array).tobytes())
    return digest


def _hashed(name: str, array: Array, key: bytes) -> Array:
    if array.dtype.kind not in "OiubUS":
        raise Invalid(
            f"--hash-columns: '{name}' holds fractions, and a hash of them is no such number any more",
            where="the data",
            do="hash names and numbers of things; drop the column, or leave it as it is",
        )
    keyed = hmac.new(key, name.encode(), hashlib.sha256).digest()
    values = array.reshape(-1).tolist()
    known = {value: hmac.new(keyed, repr(value).encode(), hashlib.sha256) for value in set(values)}
    if array.dtype.kind in "OUS":
        texts = [known[value].hexdigest()[:LENGTH] for value in values]
        return np.array(texts, dtype=object).reshape(array.shape)
    low, high = min(values), max(values)
    numbers = [low + int.from_bytes(known[value].digest()) % (int(high) - int(low) + 1) for value in values]
    return np.array(numbers).astype(array.dtype).reshape(array.shape)
