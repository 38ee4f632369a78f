"""How a process ended, in words."""

from __future__ import annotations

import signal


def signal_name(number: int) -> str:
    """`SIGKILL`; those in between that have only numbers: `signal 37`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
