"""A model server for as long as it is measured, on cores of its own, so that the load generator takes none of its time.

Its flags are read from the environment as always (TIDEGATE_…).  It ends with us, however we end: it holds the reading
end of a pipe whose other end only we have.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tidegate.client import Client
from tidegate.errors import Failed, UsageError

LISTEN_SECONDS = 60.0
READY_SECONDS = 600.0
END_SECONDS = 20.0
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Serve:
    """A server that is wanted: of the bundle in `folder`, on so many cores, all but one where none are named."""

    folder: Path
    model: str
    device: str = "cpu"
    cores: int | None = None


@contextlib.contextmanager
def served(wanted: Serve) -> Iterator[str]:
    """The address of the server.

    Raises UsageError for more cores than there are, Failed with the server's reason when it does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as scratch, _lifeline() as reading:
        last_words = Path(scratch) / "last-words"
        with _apart(wanted.cores) as pinned, (Path(scratch) / "log").open("wb") as log:
            process = _start(wanted, reading, last_words, log)
            try:
                if pinned:
                    os.sched_setaffinity(process.pid, pinned)
                yield _ready(process, last_words)
            finally:
                _end(process)


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


@contextlib.contextmanager
def _apart(cores: int | None) -> Iterator[set[int]]:
    """The server's cores, while this process has none of them; empty where cores cannot be chosen (macOS)."""
    if not hasattr(os, "sched_setaffinity"):
        yield set()
        return
    before = os.sched_getaffinity(0)
    server, own = divided(sorted(before), cores)
    os.sched_setaffinity(0, own)
    try:
        yield server
    finally:
        os.sched_setaffinity(0, before)


def divided(cores: Sequence[int], wanted: int | None) -> tuple[set[int], set[int]]:
    """Cores of the server, and of the load generator: one at least, shared where there is only one."""
    most = max(1, len(cores) - 1)
    if wanted is not None and wanted > most:
        do = f"take {most} or fewer: the load generator needs one, too"
        raise UsageError(f"this machine has {len(cores)} cores", where=f"--cores {wanted}", do=do)
    count = wanted or most
    return set(cores[:count]), set(cores[count:] or cores)


def _start(wanted: Serve, lifeline: int, last_words: Path, log: IO[bytes]) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-P", "-m", "tidegate_runtime", "serve", "--bundle", str(wanted.folder), "--name", wanted.model,
        "--device", wanted.device,
        "--host", "127.0.0.1", "--http-port", "0", "--grpc-port", "off",
        "--metrics-host", "127.0.0.1", "--metrics-port", "0",
        "--lifeline-fd", str(lifeline), "--termination-log", str(last_words), "--drain-delay", "0s",
    ]  # fmt: skip
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, pass_fds=(lifeline,), start_new_session=True
    )


def _ready(process: subprocess.Popen[str], last_words: Path) -> str:
    """The server's address, as soon as it can be asked."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], LISTEN_SECONDS)
    line = process.stdout.readline() if readable else ""
    if not line:
        raise _ended(process, last_words)
    url = f"http://127.0.0.1:{json.loads(line)['http']}"
    end = time.monotonic() + READY_SECONDS
    with Client(url) as client:
        while not client.ready():
            if process.poll() is not None or time.monotonic() > end:
                raise _ended(process, last_words)
            time.sleep(LOOK_SECONDS)
    return url


def _ended(process: subprocess.Popen[str], last_words: Path) -> Failed:
    """Why it did not come up, in its own words."""
    process.kill()
    process.wait()
    try:
        said = json.loads(last_words.read_text())
    except (OSError, ValueError):
        return Failed(f"the server ended with exit code {process.returncode} before it was ready")
    return Failed(str(said.get("message", "")), where="the server", reason=str(said.get("reason", "")))


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
