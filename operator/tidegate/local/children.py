"""Starting processes that end when the runner does, however it ends.

Every child holds the read end of one pipe whose write end only the runner has: when the runner is gone the pipe gives
end of file, and the child drains and exits.  Children have sessions of their own, so that Ctrl-C reaches the runner
alone and it decides in which order things stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# What a child may see of the runner's environment: never credentials that happen to be exported in the shell.
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "VIRTUAL_ENV")
COMPLAINTS = ("event", "reason", "message", "error")


@dataclass(frozen=True, slots=True)
class Lifeline:
    """The pipe; `reading` goes to children, `writing` stays here and closes with the runner."""

    reading: int
    writing: int

    @classmethod
    def open(cls) -> Lifeline:
        return cls(*os.pipe())

    def close(self) -> None:
        for descriptor in (self.writing, self.reading):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Start:
    """How to start one child; `log` collects its stderr."""

    command: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    keep_open: tuple[int, ...]


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | dict(extra)


async def start_child(start: Start) -> asyncio.subprocess.Process:
    with start.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *start.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=dict(start.environment),
            pass_fds=start.keep_open,
            start_new_session=True,
        )


async def stop_child(process: asyncio.subprocess.Process, patience: float) -> None:
    """SIGTERM, `patience` seconds, SIGKILL; returns when the process is gone."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def last_lines(path: Path, begin: int = 0, count: int = 3, window: int = 8192) -> str:
    """The end of a log, for a sentence about why a child ended; what lies before `begin` was said by an earlier one."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(begin, end - window, 0))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    told = [text for line in lines if (text := complaint(line.strip()))]
    return " | ".join(told[-count:])


def complaint(line: str) -> str:
    """What a line of a log says about a fault: of our servers' JSON lines the words, nothing of how well it went."""
    try:
        said = json.loads(line)
    except ValueError:
        return line
    if not isinstance(said, dict):
        return line
    if said.get("level") == "info":
        return ""
    return ": ".join(str(said[name]) for name in COMPLAINTS if name in said)
