"""Files that the server reads again while it runs: a thread looks every second, so that no request waits for a disk.

What a file says badly never takes the place of what it said well: the last good one stays, a line of the log says why
and `tidegate_reload_failing` is 1, until the file is mended.
"""

from __future__ import annotations

import threading
from typing import Final, Protocol

from tidegate_runtime.logs import log

LOOK_SECONDS: Final = 1.0


class Unusable(Exception):
    """A file cannot be used; the text says which, where and why, and holds nothing secret of it."""


class Reloaded(Protocol):
    """What is read from files; `flag` is the one that names them."""

    flag: str

    def look(self) -> bool:
        """Take up what they say now; whether that is something new. Raises Unusable and keeps what it has."""


class Reloading:
    """The thread. `failing` is 1 by flag where what is used is not what its file says."""

    def __init__(self, parts: tuple[Reloaded, ...]) -> None:
        self.failing: dict[str, int] = {part.flag: 0 for part in parts}
        self._parts = parts
        self._told: dict[str, str] = {}
        self._over = threading.Event()

    def start(self) -> None:
        if self._parts:
            threading.Thread(target=self._look_on, name="reload", daemon=True).start()

    def stop(self) -> None:
        self._over.set()

    def _look_on(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            for part in self._parts:
                self._look(part)

    def _look(self, part: Reloaded) -> None:
        why = ""
        try:
            if part.look():
                log("info", "read again", file=part.flag)
        except Unusable as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must look again
            why = type(error).__name__
        self.failing[part.flag] = int(bool(why))
        if why and why != self._told.get(part.flag):
            log("warning", "cannot be used: the last good one stays", file=part.flag, why=why)
        self._told[part.flag] = why
