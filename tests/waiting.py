"""How tests wait: for a condition, with a deadline, never for a time."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import TypeVar

LOOK_SECONDS = 0.03
PATIENCE = 20.0
T = TypeVar("T")


def wait_until(look: Callable[[], T | None], what: str | Callable[[], str], seconds: float = PATIENCE) -> T:
    """Look again and again until there is something to see, and give it; fails with `what` when the time is up."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what if isinstance(what, str) else what()}"
        select.select([], [], [], LOOK_SECONDS)
    return found
