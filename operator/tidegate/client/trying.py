"""When a request is made again: while no run of the model can have begun.

That is so where no connection came about, and where the server says that it takes nothing on now.  After that a
broken connection may mean that the run was made, or still is.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from tidegate.client.errors import ClientError, NotConnected, ServerBusy, Unanswered

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds before a connection is tried again
SHARED_OUT = 0.25  # of a pause, by chance: clients that were sent away together should not come back together
LEAST_LEFT = 0.001
T = TypeVar("T")


class Trying:
    """At most `retries` times more than once; `repeat` also repeats what may have been run."""

    def __init__(self, *, retries: int, repeat: bool) -> None:
        self._retries, self._repeat = retries, repeat

    def answer(self, ask: Callable[[float], T], *, timeout: float) -> T:
        """What `ask` gives for the seconds left, all tries together; raises its last ClientError."""
        deadline = time.monotonic() + timeout
        tried = 0
        while True:
            try:
                return ask(max(LEAST_LEFT, deadline - time.monotonic()))
            except ClientError as error:
                pause = _pause(error, tried)
                if not self._may_repeat(error) or tried == self._retries or time.monotonic() + pause > deadline:
                    raise
            tried += 1
            time.sleep(pause)

    def _may_repeat(self, error: ClientError) -> bool:
        return isinstance(error, NotConnected | ServerBusy) or (self._repeat and isinstance(error, Unanswered))


def _pause(error: ClientError, tried: int) -> float:
    """Seconds until the next try."""
    pause = error.retry_after if isinstance(error, ServerBusy) else min(LONGEST_PAUSE, FIRST_PAUSE * 2**tried)
    return pause * random.uniform(1.0, 1.0 + SHARED_OUT)  # noqa: S311 - nothing to guess
