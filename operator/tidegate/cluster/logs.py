"""The operator's log: one line of JSON each, which says whose deployment it is about and never holds a secret.

Nothing that is logged on purpose holds one; what libraries put into their errors is not ours to choose, so bearer
tokens, JSON web tokens, passwords in addresses and signatures of presigned ones are blotted out of every line.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from tidegate.api.decision import Decision, decision_document

LINE_LIMIT = 16 * 1024
MARGIN = 4096  # a secret across the end of the line is still known by its whole form
BLOT = "***"
SECRETS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}"), rf"\1 {BLOT}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), BLOT),
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,19}://)[^\s/@]{1,512}@"), rf"\1{BLOT}@"),
    (re.compile(r"(?i)([?&][\w-]*(?:signature|token|credential|secret|key|password)[\w-]*=)[^&\s\"']+"), rf"\1{BLOT}"),
)
# kopf tells of every request it tries again as an error, and of every object it sees.
QUIETED: Mapping[str, int] = {"kopf": logging.WARNING, "aiohttp": logging.WARNING, "asyncio": logging.WARNING}

DECISIONS = logging.getLogger("tidegate.decisions")

_about: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039 - never changed in place


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Lines of this task, and of what it calls, carry these fields: namespace, name, revision."""
    token = _about.set({**_about.get(), **{name: value for name, value in fields.items() if value}})
    try:
        yield
    finally:
        _about.reset(token)


class JsonLines(logging.Formatter):
    """`{"at", "level", "logger", "message", "namespace", "name", "revision", "error", "decision"}`, those there are."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": clean(record.getMessage()),
            **_about.get(),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = clean(self.formatException(record.exc_info))
        if decision := getattr(record, "decision", None):
            line["decision"] = cleaned(decision)
        return orjson.dumps(line).decode()


def clean(text: str) -> str:
    """The text without secrets, and not longer than a line may be."""
    shown = text[: LINE_LIMIT + MARGIN]
    for pattern, blotted in SECRETS:
        shown = pattern.sub(blotted, shown)
    return shown if len(text) <= LINE_LIMIT else shown[: LINE_LIMIT - 1] + "…"


def cleaned(value: Any) -> Any:
    """A document whose texts are without secrets."""
    if isinstance(value, Mapping):
        return {name: cleaned(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(part) for part in value]
    return clean(value) if isinstance(value, str) else value


def decided(decision: Decision) -> None:
    """The one line of a decision; it is written whatever the level is."""
    with about(revision=decision.revision):
        level = logging.WARNING if decision.type == "Warning" else logging.INFO
        shown = {"decision": decision_document(decision)}
        DECISIONS.log(level, "%s: %s", decision.reason, decision.message, extra=shown)


def configure(level: str, stream: TextIO | None = None) -> None:
    """Have everything that this process logs written as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    DECISIONS.setLevel(logging.INFO)
    for name, least in QUIETED.items():
        logging.getLogger(name).setLevel(max(least, logging.getLogger().level))
