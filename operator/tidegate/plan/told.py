"""The course of a deployment as it is read back; apart from how it is made, because the commands have no time for that.

What is read may have been written by anybody: lines that are none of ours are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

COURSE_KEY = "course.jsonl"


def course_name(deployment: str) -> str:
    """The ConfigMap that keeps it in a cluster."""
    return f"{deployment}-course"


def lines_in(found: Mapping[str, Any]) -> list[str]:
    """The rows in that ConfigMap, as lines of JSON."""
    text = (found.get("data") or {}).get(COURSE_KEY)
    return text.splitlines() if isinstance(text, str) else []


def decisions_in(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Every decision, the oldest first."""
    found: list[dict[str, Any]] = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        events = row.get("events") if isinstance(row, dict) else None
        listed = events if isinstance(events, list) else ()
        found += [one for one in listed if isinstance(one, dict) and isinstance(one.get("number"), int)]
    return found
