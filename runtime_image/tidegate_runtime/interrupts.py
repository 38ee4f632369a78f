"""Ctrl-C before there is anything to end: the process ends without a word, where Python would print a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130


@contextlib.contextmanager
def ends_at_once() -> Iterator[None]:
    """While modules are loaded; where Ctrl-C is ignored, or handled otherwise, that stays."""
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
