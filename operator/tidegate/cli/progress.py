"""A progress line on stderr for what takes longer than a second; nothing when stderr is not a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from tidegate.bundle.source import Progress

PATIENCE = 1.0  # seconds before anything is shown


@contextlib.contextmanager
def progress_line(label: str, *, unit: str = "") -> Iterator[Progress | None]:
    """Give a function that is told of bytes done and bytes in all, or of whatever `unit` names."""
    if not sys.stderr.isatty():
        yield None
        return
    line = _Line(label, unit)
    try:
        yield line.show
    finally:
        line.stop()


@contextlib.contextmanager
def step_line() -> Iterator[Callable[[str], None]]:
    """Give a function that is told of each step, in a few words."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("reading") as status:
        yield status.update


@contextlib.contextmanager
def counted_steps_line() -> Iterator[Callable[[int, int, str], None] | None]:
    """Give a function that is told of steps done, steps in all, and what is done now."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)


class _Line:
    def __init__(self, label: str, unit: str) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TransferSpeedColumn,
        )

        amounts = (MofNCompleteColumn(), TextColumn(unit)) if unit else (DownloadColumn(), TransferSpeedColumn())
        columns = (TextColumn("{task.description}"), BarColumn(), *amounts)
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(label, total=None)
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._shown = False

    def show(self, done: int, total: int) -> None:
        with self._lock:
            if not self._shown and time.monotonic() - self._began > PATIENCE:
                self._bar.start()
                self._shown = True
        self._bar.update(self._task, completed=done, total=total)

    def stop(self) -> None:
        if self._shown:
            self._bar.stop()
