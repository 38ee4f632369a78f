"""What the main process and a sibling say to each other, and over what.

Two pairs of sockets, made by the main process and inherited: the line carries the messages below both ways, the door
carries connections from the main process only (a file descriptor beside each byte) and is closed when no more come.
Both ends are this program under one account, so messages are pickled: there is nobody in between to believe.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, cast

from tidegate_runtime.counters import Second
from tidegate_runtime.divergence import Clock
from tidegate_runtime.interfaces import Kind
from tidegate_runtime.session import Measured
from tidegate_runtime.shadow import Target
from tidegate_runtime.siblings.counts import Plain
from tidegate_runtime.statistics import Sums

HEAD: Final = struct.Struct("!I")
AT_ONCE: Final = 64  # connections taken from the door before the loop looks at its other sockets
ROOM: Final = 16  # bytes and descriptors; one of each comes at a time


@dataclass(frozen=True, slots=True)
class Hello:
    """The first word to a sibling: what it is to serve, and how the main process counts."""

    given: Mapping[str, str | None]  # texts of the flags; the environment is inherited
    digest: str  # of the bundle that was proved
    measured: Measured
    clock: Clock
    instance: str
    processes: int  # in all, which share the cores
    queue: int  # its share of the requests that may wait
    slots: int | None  # the descriptor by which processes agree on explanations; None: there are none


@dataclass(frozen=True, slots=True)
class Ready:
    """The sibling's model is loaded and proved; it has counted nothing before the second `until`."""

    until: int


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot be; the process ends."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Closed:
    """So many connections have ended."""

    count: int


@dataclass(frozen=True, slots=True)
class Report:
    """Several times a second."""

    until: int  # the seconds before this one are told (Unix time)
    plain: Plain
    seconds: list[tuple[Kind, Second]]
    sums: Sums
    queued: int
    unread: int
    in_flight: int
    hopeless: str  # why only a restart helps, as its health says


@dataclass(frozen=True, slots=True)
class Others:
    """To a sibling: the statistics of all other processes."""

    sums: Sums


@dataclass(frozen=True, slots=True)
class Aim:
    """To a sibling: where to shadow to."""

    target: Target | None


@dataclass(frozen=True, slots=True)
class Drain:
    """To a sibling: answers end their connections from now on; when the door closes, finish and exit."""


class Line(asyncio.Protocol):
    """One end of the line: `received(message)` for each, `ended` is set when the other end is gone."""

    def __init__(self, received: Callable[[object], None]) -> None:
        self._received = received
        self._buffer = bytearray()
        self._transport = cast("asyncio.Transport", None)
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= HEAD.size:
            end = HEAD.size + HEAD.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            message = bytes(self._buffer[HEAD.size : end])
            del self._buffer[:end]
            self._received(pickle.loads(message))  # noqa: S301 - from our own process, see above

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.ended.set()

    def send(self, message: object) -> None:
        """Without waiting; to an end that is gone it is lost."""
        content = pickle.dumps(message)
        if not self._transport.is_closing():
            self._transport.write(HEAD.pack(len(content)) + content)

    def close(self) -> None:
        """After what was sent has left."""
        self._transport.close()


async def connect(end: socket.socket, received: Callable[[object], None]) -> Line:
    """The line over this end of its pair."""
    loop = asyncio.get_running_loop()
    _, line = await loop.create_unix_connection(lambda: Line(received), sock=end)
    return line


def pass_on(door: socket.socket, client: socket.socket) -> bool:
    """Give `client` to the process behind `door`; false when it takes nothing more now, or is gone."""
    try:
        socket.send_fds(door, [b"."], [client.fileno()])
    except OSError:
        return False
    client.close()  # the other process has its own descriptor
    return True


def taken(door: socket.socket) -> Iterator[socket.socket | None]:
    """Connections that wait at the door, at most `AT_ONCE`; None for one that was lost for want of descriptors.

    Raises EOFError when no more will come.
    """
    for _ in range(AT_ONCE):
        try:
            content, descriptors, _, _ = socket.recv_fds(door, 1, ROOM)
        except BlockingIOError:
            return
        if not content:
            raise EOFError
        for descriptor in descriptors:
            yield socket.socket(fileno=descriptor)
        if not descriptors:
            yield None
