"""How many processes like this one the memory limit holds, and how much of it is kept for the next request."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tidegate_runtime.control_groups import ROOT, V2, groups, read

USABLE: Final = 0.8  # of the limit: runs need memory, too, and connections
UNLIMITED: Final = 2**60  # version 1 writes the largest number of pages
KEPT: Final = 16 << 20  # bytes
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed() -> None:
    """Keep up to KEPT of what is freed for the next request: given back, it costs a page fault for each 4 KiB of it.

    Eight clients that send 600 KB in binary cost 150 of them a request, 1.6 MB in JSON 850.  Called when the model is
    loaded: what that left is given back before.  Only glibc has these settings.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim"):
        libc.malloc_trim(ctypes.c_size_t(0))
        libc.mallopt(TRIM_THRESHOLD, KEPT)
        libc.mallopt(MMAP_THRESHOLD, KEPT)


def copies(root: Path = ROOT) -> float:
    """Processes as large as this one is now that fit, this one included; infinite where nothing limits them."""
    limit = min(_limits(root), default=None)
    if limit is None:
        return math.inf
    resident = int(read(root / "proc/self/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return USABLE * limit / resident


def _limits(root: Path) -> Iterator[int]:
    """Bytes that each group from our own outwards allows."""
    for kind, folder in groups(root, "memory"):
        text = read(folder / ("memory.max" if kind == V2 else "memory.limit_in_bytes")).strip()
        if text.isdigit() and int(text) < UNLIMITED:
            yield int(text)
