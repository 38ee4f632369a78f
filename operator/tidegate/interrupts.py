"""Ctrl-C while modules are being loaded: nothing is begun, nothing has to be undone, and a traceback helps nobody."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

INTERRUPTED = 130


@contextlib.contextmanager
def ends_at_once() -> Iterator[None]:
    """Ctrl-C ends the process without a word; where it is ignored or handled otherwise that stays."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler
    os._exit(INTERRUPTED)  # an exception would be taken for a broken installation, by numpy for one
