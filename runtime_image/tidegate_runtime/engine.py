"""From a decoded request to its tensors: admission, batching, inline runs on the loop or a worker's thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate_runtime.interfaces import Array


@dataclass(slots=True, eq=False)
class Call:
    """One request on its way through the engine. `done(call)` is called on the loop, once, unless it was cancelled."""

    feeds: dict[str, Array]
    rows: int
    done: Callable[[Call], None]
    arrived: float  # time.monotonic
    deadline: float
    started: float = 0.0
    ended: float = 0.0
    outputs: list[Array] = field(default_factory=list)
    error: Exception | None = None  # a RequestError of errors.py
    cancelled: bool = False
