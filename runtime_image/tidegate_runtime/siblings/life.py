"""One sibling from its start to its death, as the main process sees it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

from tidegate_runtime.siblings import wire
from tidegate_runtime.statistics import Sums

PROGRAM: Final = ("-P", "-m", "tidegate_runtime.siblings.process")  # -P: not from the folder that we happen to be in
NOT_STARTED: Final = 1


class Life:
    """A process. `told(life, report)` is called for each of its reports, `ready(life)` once."""

    def __init__(self, told: Callable[[Life, wire.Report], None], ready: Callable[[Life], None]) -> None:
        self._told, self._when_ready = told, ready
        self._process: asyncio.subprocess.Process | None = None
        self._door: socket.socket | None = None
        self._line: wire.Line | None = None
        self.ready = False
        self.failed: wire.Failed | None = None
        self.until = 0  # the seconds before this one are told
        self.report: wire.Report | None = None
        self.heard = self.began = time.monotonic()
        self.connections = 0

    async def live(self, hello: wire.Hello) -> int:
        """Start it, and wait for its end: the exit code, negative for a signal."""
        door, their_door = socket.socketpair()
        line, their_line = socket.socketpair()
        their_lifeline, lifeline = os.pipe()  # closed when this process is gone, however it went
        door.setblocking(False)
        self._door = door
        theirs = (their_door.fileno(), their_line.fileno(), their_lifeline)
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *PROGRAM, *map(str, theirs), pass_fds=theirs, start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            self.failed = wire.Failed("SiblingDied", f"a process cannot be started: {error.strerror}")
            line.close()
        finally:
            their_door.close()
            their_line.close()
            os.close(their_lifeline)
        code = NOT_STARTED if self._process is None else await self._until_its_end(self._process, line, hello)
        self.shut_door()
        os.close(lifeline)
        return code

    async def _until_its_end(self, process: asyncio.subprocess.Process, line: socket.socket, hello: wire.Hello) -> int:
        self._line = await wire.connect(line, self._receive)
        self.say(hello)
        code = await process.wait()
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
        """It hangs, or its time is over."""
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
