"""Why a server or a bundle did not come up, in the words and classes that a plan understands."""

from __future__ import annotations

import json
from pathlib import Path

from tidegate.bundle.errors import BundleError, Denied, DiskFull, NotFound
from tidegate.endings import signal_name
from tidegate.errors import Temporary, TidegateError
from tidegate.local.secrets import NotGiven
from tidegate.plan.observed import Failure, FailureClass

REFUSED = 1  # exit code of a server that will say the same of these bytes every time
CRASH_LOOP = 3  # deaths in a row that are no accident any more
MESSAGE_LIMIT = 1024
WORDS_LIMIT = 8192
# What may change without a new spec: a store that answers again, a secret that is given, a disk that has room.
PASSING = (Temporary, Denied, DiskFull, NotFound, NotGiven)


def failure_of(error: TidegateError | OSError) -> Failure:
    """The failure that an error of a fetch or a start is."""
    if not isinstance(error, TidegateError):
        return Failure(FailureClass.ENVIRONMENT, "LocalError", shortened(error.strerror or str(error)))
    passing = isinstance(error, PASSING) or (isinstance(error, BundleError) and error.exit_code == Temporary.exit_code)
    kind = FailureClass.ENVIRONMENT if passing else FailureClass.CONTENT
    return Failure(kind, error.reason, shortened(str(error)))


def ended(code: int, last_words: Path, log_end: str, *, in_a_row: int) -> Failure:
    """Why a process is gone: its own last words, or what can be said without them."""
    if words := read_words(last_words):
        kind = FailureClass.CONTENT if code == REFUSED else FailureClass.ENVIRONMENT
        return Failure(kind, words[0], shortened(words[1]))
    how = f"was ended by {signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    reason = "CrashLoop" if in_a_row + 1 >= CRASH_LOOP else "ServerDied"
    return Failure(FailureClass.ENVIRONMENT, reason, shortened(f"the server {how}: {log_end}".rstrip(": ")))


def not_ready(what: str) -> Failure:
    return Failure(FailureClass.ENVIRONMENT, "StartTimeout", f"the server did not start: {what}")


def read_words(path: Path) -> tuple[str, str] | None:
    try:
        said = json.loads(path.read_bytes()[:WORDS_LIMIT])
        return str(said["reason"]), str(said["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def shortened(text: str) -> str:
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"
