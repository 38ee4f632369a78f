"""How tests wait: for a condition, with a deadline, never for a time."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import TypeVar

LOOK_SECONDS = 0.03
SELDOM_SECONDS = 0.1  # what takes long is not worth a look every moment: a look can cost an API server a millisecond
SELDOM_AFTER = 2.0
PATIENCE = 20.0
T = TypeVar("T")


def wait_until(look: Callable[[], T | None], what: str | Callable[[], str], seconds: float = PATIENCE) -> T:
    """Look again and again until there is something to see, and give it; fails with `what` when the time is up."""
    began = time.monotonic()
    while not (found := look()):
        waited = time.monotonic() - began
        assert waited < seconds, f"not within {seconds:g} s: {what if isinstance(what, str) else what()}"
        select.select([], [], [], LOOK_SECONDS if waited < SELDOM_AFTER else SELDOM_SECONDS)
    return found
