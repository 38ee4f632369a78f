"""The report as plain data: what the page shows, for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tidegate.report.course import Check, Course, Figures, Source, read_courses
from tidegate.report.summary import summaries

VERSION = "tidegate.io/report/v1"


def report_data(sources: Sequence[Source]) -> dict[str, Any]:
    """What happened to these deployments, newest last."""
    return {"apiVersion": VERSION, "deployments": [course_data(course) for course in read_courses(sources)]}


def course_data(course: Course) -> dict[str, Any]:
    """One deployment."""
    return {
        "name": course.name,
        "phase": course.phase,
        "stable": course.stable,
        "limits": dict(course.limits),
        "versions": [
            {
                "revision": found.revision,
                "version": found.name,
                "outcome": found.outcome,
                "reason": found.reason,
                "message": found.message,
                "digest": found.digest,
                "requests": found.requests,
                "errors": found.errors,
                "p50Ms": found.p50,
                "p99Ms": found.p99,
                "highestWeight": found.highest_weight,
            }
            for found in summaries(course)
        ],
        "events": [
            {
                "at": _iso(event.at),
                "type": "Warning" if event.warning else "Normal",
                "reason": event.reason,
                "message": event.message,
                "revision": event.revision,
                "number": event.number,
                "by": event.by,
                "checks": _checks(event.checks),
            }
            for event in course.happenings
        ],
        "checks": _checks(course.checks),
        "points": [
            {
                "at": _iso(point.at),
                "phase": point.phase,
                "versions": {revision: _figures(seen) for revision, seen in point.versions.items()},
            }
            for point in course.points
        ],
    }


def _checks(checks: Sequence[Check]) -> list[dict[str, str]]:
    return [{"name": check.name, "verdict": check.verdict, "message": check.message} for check in checks]


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _figures(seen: Figures) -> dict[str, Any]:
    return {
        "role": seen.role,
        "weight": seen.weight,
        "ready": seen.ready,
        "requests": seen.requests,
        "errors": seen.errors,
        "rps": seen.rps,
        "rpsPerServer": seen.rps_per_server,
        "p50Ms": seen.p50,
        "p99Ms": seen.p99,
        "divergence": seen.divergence,
    }
