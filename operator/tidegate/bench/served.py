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

from tidegate.client import Client, ClientError
from tidegate.endings import signal_name
from tidegate.errors import Failed, UsageError

LISTEN_SECONDS = 60.0
READY_SECONDS = 600.0
END_SECONDS = 20.0
LOOK_SECONDS = 0.05
NEWS_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Serve:
    """A server that is wanted: of the bundle in `folder`, on so many cores, all but one where none are named."""

    folder: Path
    model: str
    device: str = "cpu"
    cores: int | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """A server that can be asked; `cores` is 0 where it has no certain number of them."""

    url: str
    pid: int
    cores: int

    def cpu_seconds(self) -> float:
        """CPU time that it has used, and its own processes; only where `cores` is known (Linux)."""
        ticks = sum(map(_ticks, (self.pid, *_children(self.pid))))
        return ticks / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> int:
    """User and system time of a process with all its threads."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def served(wanted: Serve) -> Iterator[Served]:
    """A server while this lasts.

    Raises UsageError for more cores than there are, Failed with the server's reason when it does not come up or ends
    before it is to.
    """
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder, _lifeline() as reading:
        said = Said(Path(folder))
        with _apart(wanted.cores) as pinned:
            process = _start(wanted, reading, said)
            try:
                if pinned:
                    os.sched_setaffinity(process.pid, pinned)
                server = Served(_ready(process, said), process.pid, len(pinned))
                with running(process, said):
                    yield server
            finally:
                _end(process)


class Said:
    """What a server leaves behind in a folder: its log, and its last words."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.last_words = folder / "last-words"

    def failure(self, code: int) -> Failed:
        """Why it ended with this exit code, or by a signal, in its own words."""
        try:
            words = json.loads(self.last_words.read_text())
        except (OSError, ValueError):
            last = self.log.read_text(errors="replace").strip().rpartition("\n")[2] or "it said nothing"
            how = f"with exit code {code}" if code >= 0 else f"by {signal_name(-code)}"
            return Failed(f"it ended {how}: {last[:300]}", where="the server")
        return Failed(str(words.get("message", "")), where="the server", reason=str(words.get("reason", "")))


@contextlib.contextmanager
def running(process: subprocess.Popen[str], said: Said) -> Iterator[None]:
    """Raise Failed where it has ended: that explains whatever else went wrong."""
    try:
        yield
    except (ClientError, Failed):
        with contextlib.suppress(subprocess.TimeoutExpired):  # who lost a connection may know it before us
            raise said.failure(process.wait(NEWS_SECONDS)) from None
        raise
    if (code := process.poll()) is not None:
        raise said.failure(code)


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


def _start(wanted: Serve, lifeline: int, said: Said) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-P", "-m", "tidegate_runtime", "serve", "--bundle", str(wanted.folder), "--name", wanted.model,
        "--device", wanted.device,
        "--host", "127.0.0.1", "--http-port", "0", "--grpc-port", "off",
        "--metrics-host", "127.0.0.1", "--metrics-port", "0",
        "--lifeline-fd", str(lifeline), "--termination-log", str(said.last_words), "--drain-delay", "0s",
    ]  # fmt: skip
    with said.log.open("wb") as log:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, pass_fds=(lifeline,), start_new_session=True
        )


def _ready(process: subprocess.Popen[str], said: Said) -> str:
    """The server's address, as soon as it can be asked."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], LISTEN_SECONDS)
    line = process.stdout.readline() if readable else ""
    if not line:
        raise said.failure(_exit_code(process))
    url = f"http://127.0.0.1:{json.loads(line)['http']}"
    end = time.monotonic() + READY_SECONDS
    with Client(url) as client:
        while not client.ready():
            if process.poll() is not None or time.monotonic() > end:
                raise said.failure(_exit_code(process))
            time.sleep(LOOK_SECONDS)
    return url


def _exit_code(process: subprocess.Popen[str], patience: float = 1.0) -> int:
    """Of a server that ends now: by itself within so many seconds, or by force."""
    try:
        return process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    _exit_code(process, END_SECONDS)
    if process.stdout is not None:
        process.stdout.close()
