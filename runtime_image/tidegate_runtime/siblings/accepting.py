"""Accepts connections for all processes and gives each to the one that has the fewest."""

from __future__ import annotations

import asyncio
import socket
from typing import Final, Protocol

AT_ONCE: Final = 64  # before the loop looks at its other sockets
WAIT_SECONDS: Final = 1.0  # when there is no descriptor left for a connection


class Keeper(Protocol):
    """The server of this process."""

    def take(self, client: socket.socket) -> None:
        """Serve this connection."""


class Spreader(Protocol):
    """Whoever knows the other processes."""

    @property
    def elsewhere(self) -> int:
        """Connections that they have."""

    def hand_over(self, client: socket.socket) -> bool:
        """Give it to another process, if one has fewer connections than this one."""

    def shut_doors(self) -> None:
        """No more connections come."""


class Accepting:
    """Accepts from `listening` until it is closed, which leaves what has not been accepted in line."""

    def __init__(self, listening: socket.socket, keeper: Keeper, spreader: Spreader) -> None:
        self._listening, self._keeper, self._spreader = listening, keeper, spreader
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        listening.setblocking(False)
        self._begin()

    def close(self) -> None:
        """Accept no more."""
        self._loop.remove_reader(self._listening)
        if self._again is not None:
            self._again.cancel()
        self._spreader.shut_doors()

    def _begin(self) -> None:
        self._again = None
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                client, _ = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # no descriptors: the line stays readable, and asking again at once would burn the core
                self._loop.remove_reader(self._listening)
                self._again = self._loop.call_later(WAIT_SECONDS, self._begin)
                return
            if not self._spreader.hand_over(client):
                self._keeper.take(client)
