"""Accepts connections for whoever shares them out or shakes hands with them: where asyncio's own server will not do."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

AT_ONCE: Final = 64  # before the loop looks at its other sockets
PAUSE_SECONDS: Final = 1.0  # without a file descriptor for one more
NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Accepting:
    """Gives each connection from `listening` to `take`, until it is closed: who is in line then stays in line."""

    def __init__(self, listening: socket.socket, take: Callable[[socket.socket], None]) -> None:
        self._listening, self._take = listening, take
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        listening.setblocking(False)
        self._begin()

    def close(self) -> None:
        """Accept no more."""
        self._loop.remove_reader(self._listening)
        if self._again is not None:
            self._again.cancel()

    def _begin(self) -> None:
        self._again = None
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                client, _ = self._listening.accept()
            except OSError as error:  # nobody is in line any more, or one who was is gone
                if error.errno in NO_ROOM:
                    self._pause()
                return
            self._take(client)

    def _pause(self) -> None:
        """The socket stays readable: looking at it again at once would take the whole processor."""
        self._loop.remove_reader(self._listening)
        self._again = self._loop.call_later(PAUSE_SECONDS, self._begin)
