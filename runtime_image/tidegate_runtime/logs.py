"""The server's log: a JSON object per line on stderr, whoever writes it. The platform adds the time."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any


def log(level: str, event: str, **more: Any) -> None:
    """One line."""
    print(json.dumps({"level": level, "event": event, **more}), file=sys.stderr, flush=True)  # noqa: T201


def keep_to_lines() -> None:
    """From now on what libraries and our own modules give to `logging` becomes such lines too, tracebacks included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line |= {"error": f"{type(error).__name__}: {error}", "traceback": self.formatException(record.exc_info)}
        return json.dumps(line)
