"""How tests wait: for a condition, with a deadline, never for a time."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import TypeVar

LOOK_SECONDS = 0.03
# What takes long is not worth a look every moment, as one can cost an API server some milliseconds: the next comes after
# a twentieth of what was waited already, within these bounds.
SELDOM_SECONDS = 0.2
PART = 1 / 20
PATIENCE = 20.0
T = TypeVar("T")


def wait_until(
    look: Callable[[], T | None],
    what: str | Callable[[], str],
    seconds: float = PATIENCE,
    *,
    seldom: float = SELDOM_SECONDS,
) -> T:
    """Look again and again until there is something to see, and give it; fails with `what` when the time is up.

    Who waits for a moment that passes says how `seldom` a look may come (seconds).
    """
    began = time.monotonic()
    while not (found := look()):
        waited = time.monotonic() - began
        assert waited < seconds, f"not within {seconds:g} s: {what if isinstance(what, str) else what()}"
        select.select([], [], [], max(LOOK_SECONDS, min(waited * PART, seldom)))
    return found
