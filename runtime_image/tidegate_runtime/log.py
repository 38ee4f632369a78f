"""The server's log: one line of JSON on stderr for each event."""

from __future__ import annotations

import json
import sys
from typing import Any


def log(level: str, event: str, **more: Any) -> None:
    """One line."""
    print(json.dumps({"level": level, "event": event, **more}), file=sys.stderr, flush=True)  # noqa: T201
