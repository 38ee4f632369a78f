"""Reading numpy's own files, which anybody may have made: what they unpack to is known before they are unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.bundle.golden import Array

ALONE = "X"  # the array of an npy


def read_arrays(path: Path, most: int) -> dict[str, Array]:
    """The arrays of an npz by name, or the one of an npy as `X`.

    Raises ValueError, in a few words, for what is damaged, holds anything but plain arrays, or more than `most` bytes.
    """
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                _require_at_most(most, file)
            file.seek(0)
            found = np.load(file, allow_pickle=False)
            arrays = {ALONE: found} if isinstance(found, np.ndarray) else dict(found)
    except MemoryError:  # of a header that promises more than there is
        raise ValueError("its arrays do not fit into memory") from None
    except Exception as error:  # noqa: BLE001 - headers go through Python's own parser, which raises what it likes
        raise ValueError(" ".join(str(error).split())[:120] or type(error).__name__) from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or not array.dtype.itemsize:
            raise ValueError(f"'{name[:80]}' in it is no array")
    return arrays


def _require_at_most(most: int, file: Any) -> None:
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > most:
        raise ValueError(f"it unpacks to {unpacked:,} bytes, allowed are {most:,}")
