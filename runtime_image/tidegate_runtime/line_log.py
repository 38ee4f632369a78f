"""A log of lines that never holds up who writes to it: a thread forms the lines and writes them, a few times a second.

What does not fit because the disk is slow or full is dropped and counted.  A file that was moved away, as logrotate
does, is opened anew.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from tidegate.errors import Temporary

LOG = logging.getLogger(__name__)
MOST_WAITING: Final = 8192  # lines: half a second's at 16,000 requests per second
WRITE_SECONDS: Final = 0.2
LAST_SECONDS: Final = 2.0  # for what waits when the server ends
AT_A_TIME: Final = 512  # lines in one write; to stdout one, since a pipe that several processes share cuts longer ones
MODE: Final = 0o640
STDOUT: Final = "-"

Item = TypeVar("Item")


class LineLog(Generic[Item]):
    """`put` may be called on the loop; `form` makes a line, without its end, on the log's own thread."""

    def __init__(self, name: str, target: str, form: Callable[[Item], bytes]) -> None:
        """Opens `target`, a file or "-"; raises Temporary where that cannot be done."""
        self.name = name
        self.dropped = 0
        self._path = None if target == STDOUT else Path(target)
        self._form = form
        self._waiting: deque[Item] = deque()
        self._over = threading.Event()
        self._torn = False  # the last write ended in the middle of a line
        self._lost = 0  # lines that were not written: the thread's share of `dropped`
        try:
            self._file = self._open()
        except OSError as error:
            raise Temporary(f"the {name} log cannot be written: {error.strerror}", where=target, reason="LogUnwritable",
                         do=f"give --{name}-log a file in a folder that the server may write to") from None  # fmt: skip
        self._thread = threading.Thread(target=self._write_on, name=f"{name}-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, item: Item) -> None:
        """Have a line written soon; never waits."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(item)
        else:
            self.dropped += 1

    def stop(self) -> None:
        """Write what waits, if that can be done in time."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(LAST_SECONDS)

    @property
    def lost(self) -> int:
        """Lines that nobody will read: too many, or the disk was full."""
        return self.dropped + self._lost

    def _open(self) -> int:
        if self._path is None:
            return sys.stdout.fileno()
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)

    def _write_on(self) -> None:
        while not self._over.wait(WRITE_SECONDS):
            self._write_all()
        self._write_all()

    def _write_all(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), AT_A_TIME if self._path else 1)
            content = b"".join(self._line(self._waiting.popleft()) for _ in range(count))
            try:
                self._follow()
                self._write(content)
            except OSError:
                self._lost += count
                return  # not at once again: the disk may have room in a moment

    def _line(self, item: Item) -> bytes:
        try:
            return self._form(item) + b"\n"
        except Exception:  # a fault of ours must cost a line and not the log
            LOG.exception("a line of the %s log cannot be made", self.name)
            self._lost += 1
            return b""

    def _follow(self) -> None:
        """Open the file anew where its name leads to another one by now."""
        if self._path is None:
            return
        try:
            same = os.path.samestat(self._path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            same = False
        if not same:
            opened = self._open()
            os.close(self._file)
            self._file, self._torn = opened, False

    def _write(self, content: bytes) -> None:
        rest = memoryview(b"\n" + content if self._torn else content)
        self._torn = True
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._torn = False
