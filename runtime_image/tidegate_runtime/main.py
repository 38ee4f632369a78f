"""The command of the pods, `tidegate-runtime`: one module per subcommand, imported only when it is the one.

Each has `add_arguments(parser)` and `execute(arguments) -> exit code`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: its idle threads cost 0.1 s of CPU at the start
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before onnxruntime: it starts a thread that looks up a host

import argparse
import importlib
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tidegate.interrupts import INTERRUPTED, ends_at_once
from tidegate_runtime import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("tidegate_runtime.serve", "serve the model of a bundle directory"),
    "fetch": ("tidegate_runtime.fetch", "fetch a bundle, verified, into a directory"),
    "resolve": ("tidegate_runtime.resolve", "say what a bundle is, as JSON, without fetching its files"),
    "prove": ("tidegate_runtime.prove", "fetch a bundle whole and run its golden samples on the CPU"),
    "check": ("tidegate_runtime.check", "run the golden samples of a bundle directory once"),
}


class Parser(argparse.ArgumentParser):
    """Also tells whoever looks at the container: an operator may know flags that an older image does not."""

    def error(self, message: str) -> NoReturn:
        if log := os.environ.get("TIDEGATE_TERMINATION_LOG"):
            from tidegate_runtime.outcome import leave, one_line

            leave({"reason": "Usage", "message": one_line(message)}, Path(log))
        super().error(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; its exit code."""
    _leave_no_core()
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = Parser(prog="tidegate-runtime", description="The model server of Tidegate.")
    parser.add_argument("--version", action="version", version=f"tidegate-runtime {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, meaning) in COMMANDS.items():
        command = commands.add_parser(name, help=meaning, description=meaning, allow_abbrev=False)
        if name in words[:1]:
            with ends_at_once():
                chosen = importlib.import_module(module)
            chosen.add_arguments(command)
    given = parser.parse_args(words)
    try:
        result: int = importlib.import_module(COMMANDS[given.command][0]).execute(given)
    except KeyboardInterrupt:
        return INTERRUPTED
    return result


def _leave_no_core() -> None:
    """Nothing of our memory goes to a disk when we crash: a key may be in it, or what a bundle decrypts to."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


if __name__ == "__main__":
    sys.exit(main())
