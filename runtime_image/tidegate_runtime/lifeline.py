"""Notices that whoever started this server is gone: nobody must have to look for servers that were left behind.

A pipe whose other end only the parent holds gives end-of-file the moment the parent is gone, however it went, on
every system.  On Linux the kernel also sends SIGTERM itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def watch(descriptor: int, lost: Callable[[], None]) -> threading.Thread:
    """Call `lost` once, on a thread of its own, when the other end of the pipe `descriptor` is closed."""
    os.set_inheritable(descriptor, False)
    _ask_kernel_for_sigterm()
    thread = threading.Thread(target=_wait_for_end, args=(descriptor, lost), name="lifeline", daemon=True)
    thread.start()
    return thread


def _wait_for_end(descriptor: int, lost: Callable[[], None]) -> None:
    try:
        while os.read(descriptor, 512):
            pass
    except OSError:
        pass  # a descriptor that cannot be read is an end as well
    lost()


def _ask_kernel_for_sigterm() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
