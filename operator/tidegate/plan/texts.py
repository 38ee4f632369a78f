"""Texts that go into the status, cut to what its fields hold: a status that was written can be read again."""

from __future__ import annotations

from datetime import timedelta

from tidegate.api.scalars import format_duration

LONGEST_REASON = 63
LONGEST_MESSAGE = 256


def sentence(text: str) -> str:
    """At most as long as a message may be."""
    return shortened(text, LONGEST_MESSAGE)


def shortened(text: str, most: int) -> str:
    """At most `most` characters; what was cut off shows."""
    return text if len(text) <= most else text[: most - 1] + "…"


def code(text: str) -> str:
    """At most as long as a reason may be, and never empty."""
    return text[:LONGEST_REASON] or "Unknown"


def duration(value: timedelta) -> str:
    """Whole seconds, as durations are written in manifests."""
    return format_duration(timedelta(seconds=round(value.total_seconds())))
