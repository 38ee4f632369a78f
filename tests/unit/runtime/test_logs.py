"""Whoever writes to the log, it stays one JSON object per line."""

from __future__ import annotations

import json
import subprocess
import sys

FAULTS = """
import logging
from tidegate_runtime.logs import keep_to_lines, log

keep_to_lines()
log("info", "ready", model="fraud")
logging.getLogger("a.library").info("is not told")
logging.getLogger("a.library").warning("two\\nlines of %s", "text")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("tidegate_runtime").exception("%s failed", "it")
"""


def test_what_libraries_log_and_tracebacks_are_lines_too() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, timeout=60, check=True)

    ready, warning, failed = [json.loads(line) for line in done.stderr.splitlines()]
    assert ready == {"level": "info", "event": "ready", "model": "fraud"}
    assert warning == {"level": "warning", "event": "two\nlines of text"}
    assert (failed["level"], failed["event"], failed["error"]) == (
        "error", "it failed", "ZeroDivisionError: division by zero",
    )  # fmt: skip
    assert failed["traceback"].startswith("Traceback")
