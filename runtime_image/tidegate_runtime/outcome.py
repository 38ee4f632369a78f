"""How the short-lived commands answer: one line of JSON to stdout and to the termination log, an exit code.

Kubernetes keeps at most 4 KiB of a container's termination message, so no message there is longer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tidegate.errors import TidegateError

MOST_BYTES = 4096
MOST_MESSAGE_BYTES = 1024
MAY_PASS = 5  # the exit code of what is not the bundle's fault


def add_log_argument(parser: argparse.ArgumentParser) -> None:
    """--termination-log, for whoever looks at the container and not at its output."""
    parser.add_argument(
        "--termination-log",
        type=Path,
        default=os.environ.get("TIDEGATE_TERMINATION_LOG"),
        help="file that gets the answer too",
        metavar="FILE",
    )


def answer(work: Callable[[], Mapping[str, Any]], log: Path | str | None) -> int:
    """Do the work and tell its result, or the reason why there is none; the exit code."""
    try:
        document, code = dict(work()), 0
    except TidegateError as error:
        document, code = {"reason": error.reason, "message": one_line(str(error))}, error.exit_code
    except MemoryError:
        document, code = {"reason": "OutOfMemory", "message": "there is not enough memory here"}, 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        document, code = {"reason": "LocalError", "message": one_line(f"{where}{error.strerror or error}")}, MAY_PASS
    except Exception as error:  # noqa: BLE001 - whoever looks at the container gets a sentence, whatever happened
        traceback.print_exc()
        document, code = {"reason": "InternalError", "message": one_line(f"{type(error).__name__}: {error}")}, MAY_PASS
    print(line(document), file=sys.stdout if code == 0 else sys.stderr, flush=True)
    if log is not None:
        leave(fitting(document, ("outputs", "proof")), Path(log))
    return code


def leave(document: Mapping[str, Any], log: Path) -> None:
    """Write the termination message; a log that cannot be written is no reason to fail."""
    try:
        log.write_text(line(document) + "\n", encoding="utf-8")
    except OSError as error:
        print(f"the termination log cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201


def one_line(message: str) -> str:
    """A message as a termination message can hold it: printable, on one line, and short in bytes too."""
    shown = "".join(char if char.isprintable() else " " for char in message)
    return shown.encode("utf-8", "replace")[:MOST_MESSAGE_BYTES].decode("utf-8", "ignore")


def line(document: Mapping[str, Any]) -> str:
    """JSON without a space too many."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def fitting(document: dict[str, Any], optional: tuple[str, ...]) -> dict[str, Any]:
    """The document without the first of these fields until it fits; what is gone is named in `omitted`."""
    omitted: list[str] = []
    for name in optional:
        if len(line(document).encode()) <= MOST_BYTES:
            break
        if document.pop(name, None) is not None:
            omitted.append(name)
            document["omitted"] = omitted
    return document
