"""The entry point, so small that Ctrl-C is answered well before anything else is loaded."""

from __future__ import annotations

import sys

from tidegate.interrupts import ends_at_once


def main() -> None:
    """Run the command line; every error ends in one sentence and a documented exit code, never in a traceback."""
    with ends_at_once():
        from tidegate.cli.group import run
    sys.exit(run())
