"""How the short-lived commands answer: one line of JSON to stdout and to the termination log, an exit code.

Kubernetes keeps at most 4 KiB of a container's termination message, so no message there is longer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tidegate.errors import TidegateError

MOST_BYTES = 4096


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
        document, code = {"reason": error.reason, "message": str(error)[:1024]}, error.exit_code
    except MemoryError:
        document, code = {"reason": "OutOfMemory", "message": "there is not enough memory here"}, 1
    print(line(document), file=sys.stdout if code == 0 else sys.stderr, flush=True)
    if log is not None:
        try:
            Path(log).write_text(line(fitting(document, ("outputs", "proof"))) + "\n", encoding="utf-8")
        except OSError as error:
            print(f"the termination log cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201
    return code


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
