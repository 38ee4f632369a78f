"""How many processes a server has: what it was told, or as many as tiny runs can keep busy.

A run of at least half a millisecond leaves the interpreter to others: threads over one session keep every core busy,
with the weights in memory once.  Tiny runs are nearly all interpreter, which one process has only one of.
"""

from __future__ import annotations

from typing import Final

from tidegate_runtime.costs import INLINE_SECONDS
from tidegate_runtime.session import OrtModel
from tidegate_runtime.settings import Settings

MOST: Final = 4  # chosen by itself: each takes the memory of a whole server, and the main one accepts for all


def how_many(settings: Settings, model: OrtModel, cores: float, copies: float) -> tuple[int, str]:
    """Processes, this one included, and why; `cores` may be used, memory holds `copies` of this process."""
    if settings.workers is not None:
        return settings.workers, "--workers says so"
    if settings.device != "cpu":
        return 1, "the device does the work"
    seconds = dict(model.costs).get(1)
    if seconds is None or seconds > INLINE_SECONDS:
        return 1, "runs are long enough for threads to keep every core busy"
    count = int(max(1, min(cores, copies, MOST, settings.queue)))
    room = "" if copies >= min(cores, MOST) else f", memory for {int(copies)}"
    return count, f"runs of {seconds * 1e6:.0f} µs on {cores:g} cores{room}"
