"""`tidegate dashboard` as a process of its own, for as long as a test looks at it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Served:
    """A dashboard that runs; its address is the one that it printed."""

    child: subprocess.Popen[str]
    address: str
    target: str

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    @property
    def token(self) -> str:
        return self.address.rpartition("#key=")[2]

    def ends(self, number: int = signal.SIGTERM) -> int:
        self.child.send_signal(number)
        return self.child.wait(timeout=15)


def started(*options: str, kubeconfig: Path, port: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tidegate", "dashboard", f"--port={port}", f"--kubeconfig={kubeconfig}", *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )


@contextmanager
def served(*options: str, kubeconfig: Path, port: int = 0) -> Iterator[Served]:
    child = started(*options, kubeconfig=kubeconfig, port=port)
    try:
        target, address = first_lines(child)
        yield Served(child, address, target.removeprefix("target: "))
    finally:
        if child.poll() is None:
            child.terminate()
        child.communicate(timeout=15)


def first_lines(child: subprocess.Popen[str]) -> tuple[str, str]:
    """The two lines that it prints once it serves."""
    assert child.stdout
    told = b""
    while told.count(b"\n") < 2:
        assert select.select([child.stdout], [], [], START_SECONDS)[0], "no address was printed"
        more = os.read(child.stdout.fileno(), 4096)
        assert more, child.stderr and child.stderr.read()
        told += more
    target, address = told.decode().splitlines()
    return target, address
