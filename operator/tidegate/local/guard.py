"""Stands between the runner and a program that knows nothing of lifelines (Envoy), and ends it when the runner is gone.

Started by path with `python -I -S`: it imports only the standard library, and starts in a few milliseconds.
Usage: guard.py LIFELINE_FD PROGRAM [ARGUMENT…].  End of file on the pipe, or SIGTERM, ends the program; when the
program ends by itself the guard ends with its exit status.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from types import FrameType

PATIENCE_SECONDS = 2.0
PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel end this process when its parent dies, even by SIGKILL (Linux only; elsewhere the pipe does)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end(program: subprocess.Popen[bytes]) -> None:
    program.terminate()
    try:
        program.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


def main(arguments: list[str]) -> int:
    lifeline = int(arguments[0])
    woken, wake = os.pipe()
    os.set_blocking(wake, False)

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        with contextlib.suppress(BlockingIOError):
            os.write(wake, b"t" if number == signal.SIGTERM else b"c")

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGCHLD, on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the runner decides what it means
    program = subprocess.Popen(arguments[1:], preexec_fn=die_with_parent, start_new_session=True)  # noqa: PLW1509
    while program.poll() is None:
        ready, _, _ = select.select([lifeline, woken], [], [])
        if lifeline in ready or b"t" in os.read(woken, 64):
            end(program)
    code = program.returncode
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
