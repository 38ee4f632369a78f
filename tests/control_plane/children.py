"""Processes that end with the test run, however it ends.

All are in one process group, whose leader is a shell that waits on a pipe: when the run is gone, even by SIGKILL, the
pipe closes and the shell ends the whole group.  Ctrl-C does not reach the group; its order of ending is ours.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

END_ALL = "cat > /dev/null; kill -9 0"
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
SHOWN_LINES = 25


class Died(RuntimeError):
    """A process that should run has ended; the message holds the end of its log."""


@dataclass(slots=True)
class Child:
    """A process of the group and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def check(self) -> None:
        """Raise Died when it has ended."""
        if not self.runs:
            raise Died(f"{self.name} ended with {self.process.returncode}:\n{self.last_lines()}")

    def stop(self, patience: float = 5.0) -> int:
        """SIGTERM, `patience` seconds, SIGKILL; its exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def last_lines(self, count: int = SHOWN_LINES) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])


@dataclass(slots=True)
class Children:
    """The group; a child is started by anybody, on any thread, and ended at the latest when the group is closed."""

    folder: Path
    _leader: subprocess.Popen[bytes] = field(init=False)
    _all: list[Child] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._leader = subprocess.Popen(
            ["/bin/sh", "-c", END_ALL], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0
        )

    def start(
        self, name: str, command: Sequence[str | Path], environment: Mapping[str, str], home: Path | None = None
    ) -> Child:
        """Start a program with a small environment; its output goes to the log `name`.log."""
        log = self.folder / f"{name}.log"
        inherited = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
        with log.open("ab") as output, self._lock:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=home or self.folder,
                env={**inherited, "HOME": str(home or self.folder), **environment},
                process_group=self._leader.pid,
            )
            child = Child(name, process, log)
            self._all = [other for other in self._all if other.runs]
            self._all.append(child)
        return child

    def close(self) -> None:
        """End all at once: nothing they hold is worth a farewell."""
        with self._lock:
            running = [child.process for child in self._all if child.runs]
        for process in running:
            process.kill()
        for process in running:
            process.wait()
        assert self._leader.stdin is not None
        self._leader.stdin.close()
        self._leader.wait()  # it ended what others of the group may have started
