"""Counts of parts that a server has only where a flag asks for them, by name, so that several processes' add up."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate_runtime.explain_counts import ExplainCounts
from tidegate_runtime.protection import Protection
from tidegate_runtime.tracing import Tracer

SENT, DROPPED = "spans sent", "spans dropped"


def further(protection: Protection | None, tracer: Tracer | None, explained: ExplainCounts | None) -> dict[str, int]:
    """Those of this process, as they stand now."""
    found = {} if protection is None else protection.counts()
    found |= {} if tracer is None else {SENT: tracer.sent, DROPPED: tracer.dropped}
    return found if explained is None else {**found, **explained.counts()}


def traces(counts: Mapping[str, int]) -> tuple[int, int] | None:
    """Spans sent and dropped; None where nobody traces."""
    return (counts[SENT], counts[DROPPED]) if SENT in counts else None
