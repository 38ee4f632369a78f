"""Children end with the runner, also those that know nothing of it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tidegate.local.children import child_environment, last_lines
from tidegate.local.proxy import GUARD

SLEEPER = "import os, signal, sys; print(os.getpid(), flush=True); signal.pause()"
STUBBORN = "import os, signal; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); signal.pause()"


def guarded(program: str, lifeline: int) -> tuple[subprocess.Popen[bytes], int]:
    """A guard, and the process id that its program printed."""
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARD), str(lifeline), sys.executable, "-c", program],
        stdout=subprocess.PIPE, pass_fds=(lifeline,),
    )  # fmt: skip
    assert guard.stdout
    assert select.select([guard.stdout], [], [], 20)[0]
    return guard, int(guard.stdout.readline())


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        select.select([], [], [], 0.01)
    return False


@pytest.mark.parametrize("program", [SLEEPER, STUBBORN])
def test_a_program_ends_when_the_lifeline_does(program: str) -> None:
    reading, writing = os.pipe()
    guard, pid = guarded(program, reading)

    os.close(writing)

    assert guard.wait(10) in (143, 137)
    assert gone(pid)
    os.close(reading)
    assert guard.stdout
    guard.stdout.close()


def test_a_program_ends_with_its_guard_even_when_that_is_killed() -> None:
    reading, writing = os.pipe()
    guard, pid = guarded(SLEEPER, reading)

    guard.kill()

    assert gone(pid)
    guard.wait(10)
    os.close(reading)
    os.close(writing)
    assert guard.stdout
    guard.stdout.close()


def test_a_guard_ends_with_its_program() -> None:
    reading, writing = os.pipe()
    guard, _ = guarded("import os, sys; print(os.getpid(), flush=True); sys.exit(7)", reading)

    assert guard.wait(10) == 7
    os.close(reading)
    os.close(writing)
    assert guard.stdout
    guard.stdout.close()


def test_children_see_no_credentials_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("TIDEGATE_DEVICE", "cuda")

    found = child_environment({"OMP_WAIT_POLICY": "PASSIVE"})

    assert "AWS_SECRET_ACCESS_KEY" not in found
    assert "TIDEGATE_DEVICE" not in found
    assert found["OMP_WAIT_POLICY"] == "PASSIVE"


def test_the_end_of_a_log_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("first\nsecond\nthird\nfourth\n")

    assert last_lines(log) == "second | third | fourth"
    assert last_lines(tmp_path / "none") == ""


def test_of_a_server_s_log_only_the_complaints_of_its_latest_life_are_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    earlier = '{"level": "error", "event": "run failed", "error": "of an earlier life"}\n'
    log.write_text(
        earlier
        + '{"level": "info", "event": "ready", "model": "fraud"}\n'
        + '{"level": "error", "event": "run failed", "error": "RuntimeError: no memory"}\n'
        + "Segmentation fault\n"
    )

    assert last_lines(log, begin=len(earlier)) == "run failed: RuntimeError: no memory | Segmentation fault"
