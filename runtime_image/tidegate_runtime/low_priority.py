"""One thread for work that may wait: comparing shadowed requests and running golden samples on demand.

Users' requests come first: the thread is `nice` where the system can do that per thread, and its queue is short in
pieces and in bytes; what does not fit is dropped by the caller, and counted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable

LOG = logging.getLogger(__name__)
NICE = 10
PLACES = 64
MOST_HELD = 16 * 2**20
Work = Callable[[], None]


class LowPriority:
    """A thread with a queue of 64 places."""

    def __init__(self, name: str) -> None:
        self._queue: queue.Queue[tuple[Work, int] | None] = queue.Queue(PLACES)
        self._came = self._went = 0  # bytes; whoever offers writes the one, the thread the other
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def offer(self, work: Work, size: int) -> bool:
        """Queue work that holds `size` bytes; false when there is no place. Called on one thread."""
        if self._came - self._went + size > MOST_HELD:
            return False
        try:
            self._queue.put_nowait((work, size))
        except queue.Full:
            return False
        self._came += size
        return True

    def stop(self) -> None:
        """Drop what waits and end; a run under way is left to the watchdog."""
        self._over.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)

    def _work(self) -> None:
        be_nice()
        while not self._over.is_set():
            waiting = self._queue.get()
            if waiting is None:
                return
            work, size = waiting
            self._went += size
            try:
                work()
            except Exception:  # one piece of work must not end the thread for all others
                LOG.exception("%s failed", self._thread.name)


def be_nice() -> None:
    """Give way to the threads that answer users; only Linux has this per thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
