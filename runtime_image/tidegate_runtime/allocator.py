"""glibc's allocator, set for runs of a model. glibc reads its settings once, when a program begins.

A run takes and frees some hundred small blocks at once: of 200 operators 483, most of two sizes.  Seven of a size are
kept at hand by default; each other one is joined with its neighbours when it is freed, and cut off again for the next
run.  With all of them at hand tiny and small models cost 3 % less CPU a request (docs/performance.md).
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final

VARIABLE: Final = "GLIBC_TUNABLES"
SETTINGS: Final = "glibc.malloc.tcache_count=1000:glibc.malloc.mxfast=0"  # the images have them from the Containerfile
BEGUN: Final = "TIDEGATE_BEGUN"  # the process that did begin again: glibc takes the settings from a privileged one


def begin_with_settings() -> None:
    """Begin this command again, in this process, with the settings; return when it has them or they mean nothing here.

    What the user has set comes after ours and so counts.
    """
    given, process = os.environ.get(VARIABLE, ""), str(os.getpid())
    if given.startswith(SETTINGS) or os.environ.get(BEGUN) == process or not sys.executable or not _is_glibc():
        return
    os.environ[VARIABLE] = f"{SETTINGS}:{given}" if given else SETTINGS
    os.environ[BEGUN] = process
    with contextlib.suppress(OSError):  # it serves without them, too
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - no shell is wanted


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):  # another C library has no such name
        return False
