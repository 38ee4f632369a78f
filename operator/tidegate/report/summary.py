"""Each version in one line: how it ended and why, and what it did until then."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from tidegate.report.course import Course, Figures, Happening

SERVING, PROMOTED, ROLLED_BACK, REFUSED, TRIED = "Serving", "Promoted", "Rolled back", "Refused", "In a rollout"
ENDINGS = {"Promoted": PROMOTED, "RolledBack": ROLLED_BACK, "RolloutEnded": REFUSED, "Refused": REFUSED}


@dataclass(frozen=True, slots=True)
class Summary:
    """One version; latencies in milliseconds, the p99 is that of its worst interval."""

    revision: str
    name: str
    outcome: str
    reason: str
    message: str
    digest: str
    requests: int
    errors: int
    p50: float | None
    p99: float | None
    highest_weight: float


def summaries(course: Course) -> list[Summary]:
    """All versions, in the order of their appearance."""
    return [_summary(course, revision) for revision in course.revisions]


def _summary(course: Course, revision: str) -> Summary:
    seen = [point.versions[revision] for point in course.points if revision in point.versions]
    last = [event for event in course.happenings if event.revision == revision and event.reason in ENDINGS]
    outcome, reason, message = _ending(course, revision, last[-1] if last else None)
    ended = course.ended.get(revision)
    return Summary(
        revision=revision,
        name=course.names[revision],
        outcome=outcome,
        reason=reason,
        message=message,
        digest=ended.digest if ended else "",
        requests=sum(figures.requests for figures in seen),
        errors=sum(figures.errors for figures in seen),
        p50=_middle(seen),
        p99=max((figures.p99 for figures in seen if figures.p99 is not None), default=None),
        highest_weight=max((figures.weight for figures in seen), default=0.0),
    )


def _ending(course: Course, revision: str, last: Happening | None) -> tuple[str, str, str]:
    if revision == course.stable:
        return SERVING, "", ""
    if last is None:
        ended = course.ended.get(revision)
        return (ENDINGS.get(ended.outcome, ended.outcome), ended.reason, "") if ended else (TRIED, "", "")
    if last.reason == "Promoted":
        return PROMOTED, "", ""
    reason, found, message = last.message.partition(": ")
    code = reason if found and reason.isalnum() else ""
    return ENDINGS[last.reason], code, message if code else last.message


def _middle(seen: list[Figures]) -> float | None:
    latencies = [figures.p50 for figures in seen if figures.p50 is not None]
    return median(latencies) if latencies else None
