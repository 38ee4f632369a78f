"""A server as a tree of processes on one core: started, waited for, its CPU time and memory read, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SERVER_CORE = 0
SLOWEST_START = 120.0
LOOK_EVERY = 0.005


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is started, and where it then answers."""

    command: Sequence[str | Path]
    http: int
    grpc: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


class Started:
    """A running server; `answers` is asked until it says yes, and the time until then is the cold start."""

    def __init__(self, launch: Launch, log: Path, answers: Callable[[int], bool]) -> None:
        self.http, self.grpc = launch.http, launch.grpc
        self._log = log
        began = time.perf_counter()
        with on_core(SERVER_CORE), log.open("wb") as said:
            self._process = subprocess.Popen(
                [str(part) for part in launch.command], stdout=said, stderr=subprocess.STDOUT, cwd=launch.folder,
                env={**os.environ, **launch.environment}, start_new_session=True,
            )  # fmt: skip
        try:
            self._wait(began + SLOWEST_START, answers)
        except BaseException:
            self.stop()
            raise
        self.cold_start = time.perf_counter() - began

    def _wait(self, until: float, answers: Callable[[int], bool]) -> None:
        while not answers(self.http):
            if self._process.poll() is not None or time.perf_counter() > until:
                last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
                raise RuntimeError(f"did not answer: {last[0] if last else 'it said nothing'}")
            time.sleep(LOOK_EVERY)

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._process.pid)

    def rss_mib(self) -> float:
        return memory_mib(self._process.pid)

    def pss_mib(self) -> float:
        """Memory with what processes share divided among them."""
        return memory_mib(self._process.pid, "Pss:")

    def stop(self) -> None:
        """End it the way an orchestrator does; whoever of the tree is left is killed."""
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time so far of all threads of its tree that live, to the nanosecond."""
    total = 0
    for process in tree(pid):
        for task in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory_mib(pid: int, line: str = "Rss:") -> float:
    """The memory of its tree, by this line of each process's page."""
    pages = (Path(f"/proc/{process}/smaps_rollup").read_text() for process in tree(pid))
    return sum(int(page.split(line)[1].split()[0]) for page in pages) / 1024


def leave_nothing_behind() -> None:
    """A benchmark that is told to end ends its servers, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """This thread, and whom it starts, on one core; on a machine of one core that is the only one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
