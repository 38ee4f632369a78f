"""One sibling from its start to its death, as the main process sees it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from tidegate_runtime.siblings import wire
from tidegate_runtime.statistics import Sums

PROGRAM: Final = ("-P", "-m", "tidegate_runtime.siblings.process")  # -P: not from the folder that we happen to be in
NOT_STARTED: Final = 1


class Life:
    """A process. `told(life, report)` is called for each of its reports, `ready(life)` once.

    `shared` are descriptors that it is given under the numbers that they have here.
    """

    def __init__(
        self, told: Callable[[Life, wire.Report], None], ready: Callable[[Life], None], shared: tuple[int, ...] = ()
    ) -> None:
        self._told, self._when_ready, self._shared = told, ready, shared
        self._process: asyncio.subprocess.Process | None = None
        self._door: socket.socket | None = None
        self._line: wire.Line | None = None
        self.ready = self._unwanted = False
        self.failed: wire.Failed | None = None
        self.until = 0  # the seconds before this one are told
        self.report: wire.Report | None = None
        self.heard = self.began = time.monotonic()
        self.connections = 0

    async def live(self, hello: wire.Hello) -> int:
        """Start it, and wait for its end: the exit code, negative for a signal."""
        with ExitStack() as until_its_end:
            try:
                line = await self._start(until_its_end)
            except OSError as error:
                self.failed = wire.Failed("SiblingDied", f"a process cannot be started: {error.strerror}")
                return NOT_STARTED
            return await self._until_its_end(line, hello)

    async def _start(self, until_its_end: ExitStack) -> socket.socket:
        """This side of its line; raises OSError when there is no room for a process or what it is given."""
        until_its_end.callback(self.shut_door)
        with ExitStack() as theirs:
            self._door, their_door = socket.socketpair()
            theirs.enter_context(their_door)
            self._door.setblocking(False)
            line, their_line = socket.socketpair()
            until_its_end.enter_context(line)
            theirs.enter_context(their_line)
            their_lifeline, lifeline = os.pipe()  # closed when this process is gone, however it went
            theirs.callback(os.close, their_lifeline)
            until_its_end.callback(os.close, lifeline)
            inherited = (their_door.fileno(), their_line.fileno(), their_lifeline)
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *PROGRAM, *map(str, inherited), pass_fds=(*inherited, *self._shared),
                start_new_session=True, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        return line

    async def _until_its_end(self, line: socket.socket, hello: wire.Hello) -> int:
        assert self._process is not None
        if self._unwanted:
            self.kill()
        self._line = await wire.connect(line, self._receive)
        self.say(hello)
        code = await self._process.wait()
        await self._line.ended.wait()  # its last words are read
        return code

    @property
    def sums(self) -> Sums:
        """What it told of its statistics."""
        return Sums() if self.report is None else self.report.sums

    def give(self, client: socket.socket) -> bool:
        """Hand a connection over; false when it takes none."""
        if self._door is None or not wire.pass_on(self._door, client):
            return False
        self.connections += 1
        return True

    def say(self, message: object) -> None:
        """Without waiting; a process that is gone does not hear it."""
        if self._line is not None:
            self._line.send(message)

    def shut_door(self) -> None:
        """No more connections come: when it drains, this is its end."""
        if self._door is not None:
            self._door.close()
            self._door = None

    def kill(self) -> None:
        """It hangs, or its time is over, which may be while it is started."""
        self._unwanted = True
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _receive(self, message: object) -> None:
        self.heard = time.monotonic()
        match message:
            case wire.Ready(until):
                self.until, self.ready = until, True
                self._when_ready(self)
            case wire.Failed():
                self.failed = message
            case wire.Closed(count):
                self.connections -= count
            case wire.Report():
                self.until, self.report = message.until, message
                self._told(self, message)
