"""Commands beside each other: each line as it comes, with the name of the part that says it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO


def run(parts: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> dict[str, int]:
    """Their exit statuses, once all have ended; when this is interrupted or told to end, so are they."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    started = {
        name: subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**environment, "PYTHONUNBUFFERED": "1"},
        )
        for name, command in parts.items()
    }  # fmt: skip
    readers = [threading.Thread(target=show, args=(name, one.stdout)) for name, one in started.items() if one.stdout]
    for reader in readers:
        reader.start()
    try:
        return {name: one.wait() for name, one in started.items()}
    except KeyboardInterrupt:  # they have got it too, and end in their own order
        return {name: one.wait() for name, one in started.items()}
    finally:
        for one in started.values():
            one.terminate()
        for reader in readers:
            reader.join()


def show(name: str, said: IO[str]) -> None:
    for line in said:
        sys.stdout.write(f"[{name}] {line}")
        sys.stdout.flush()
