"""What a run or an operator wrote down, as the report shows it: points in time, versions, and what happened.

The rows come from a place where anybody may have written: lines that make no sense are left out, numbers that are none
are missing, text has a limit.  Long runs are thinned to what a plot can show; nothing that happened is thinned.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from tidegate.errors import Failed

MAX_POINTS = 600
MAX_EVENTS = 400
MAX_VERSIONS = 24
MAX_FILE = 32 * 1024 * 1024
MAX_TEXT = 600
TIMELINES = ("timeline.1.jsonl", "timeline.jsonl")


class NothingToReport(Failed):
    """There is no timeline to draw."""

    reason = "NothingToReport"


@dataclass(frozen=True, slots=True)
class Figures:
    """One version at one point in time; `requests` and `errors` are of the time since the point before."""

    role: str
    weight: float
    ready: int
    requests: int
    errors: int
    total: int
    total_errors: int
    rps: float | None
    p50: float | None  # milliseconds
    p99: float | None
    divergence: float | None

    @property
    def error_share(self) -> float | None:
        return self.errors / self.requests if self.requests else None

    @property
    def rps_per_server(self) -> float | None:
        return self.rps / self.ready if self.rps is not None and self.ready else None


@dataclass(frozen=True, slots=True)
class Point:
    """All versions at one time (Unix seconds)."""

    at: float
    phase: str
    versions: Mapping[str, Figures]


@dataclass(frozen=True, slots=True)
class Check:
    """What a check of the analysis said."""

    name: str
    verdict: str
    message: str


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened, with its reason."""

    at: float
    warning: bool
    reason: str
    message: str
    revision: str
    number: int = 0  # of the decision; 0 where it is none
    by: str = ""  # the person who asked for it; empty: nobody did
    checks: tuple[Check, ...] = ()  # what it stood on


@dataclass(frozen=True, slots=True)
class Ended:
    """How a version ended, from the deployment's history."""

    outcome: str
    reason: str
    digest: str


@dataclass(frozen=True, slots=True)
class Course:
    """The whole story of one deployment."""

    name: str
    points: tuple[Point, ...]
    happenings: tuple[Happening, ...]
    names: Mapping[str, str]  # revision -> the version that its bundle gives itself
    ended: Mapping[str, Ended] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    stable: str = ""
    phase: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)  # p50/p99 in milliseconds, errors as a share

    @property
    def revisions(self) -> list[str]:
        """In the order in which they appeared."""
        return list(self.names)

    @property
    def used(self) -> list[str]:
        """Those that answered any request."""
        answered = {name for point in self.points for name, seen in point.versions.items() if seen.requests}
        return [revision for revision in self.names if revision in answered]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one deployment: rows as lines of JSON, the oldest first, its spec and its status."""

    name: str
    lines: Sequence[str]
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    where: str
    do: str


Source = Path | Kept  # a deployment's folder in the state of a run, or what was read elsewhere


def read_courses(sources: Sequence[Source]) -> list[Course]:
    """The stories of several deployments; those of which nothing was recorded are left out, unless that is all."""
    found, silent = [], None
    for source in sources:
        try:
            found.append(read_course(source))
        except NothingToReport as error:
            silent = error
    if silent and not found:
        raise silent
    return found


def kept_in(folder: Path) -> Kept:
    """What a run has kept in a deployment's folder."""
    whole = _object(folder / "deployment.json")
    lines = [line for name in TIMELINES for line in _lines(folder / name)]
    do = "let `tidegate run` serve it for a while"
    return Kept(folder.name, lines, _mapping(whole, "spec"), _mapping(whole, "status"), str(folder), do)


def read_course(source: Source) -> Course:
    """The story of a deployment; raises NothingToReport without any row."""
    kept = kept_in(source) if isinstance(source, Path) else source
    rows = [*_rows(kept.lines)]
    if not rows:
        raise NothingToReport("nothing was recorded yet", where=kept.where, do=kept.do)
    points = _thinned(list(_points(rows)))
    happenings = tuple(_happenings(rows))[-MAX_EVENTS:]
    return Course(
        name=kept.name,
        points=tuple(points),
        happenings=happenings,
        names=_names(rows, happenings),
        ended=_ended(kept.status),
        checks=_checks(_mapping(kept.status, "rollout").get("checks")),
        stable=_text(_mapping(kept.status, "stable").get("revision")),
        phase=_text(kept.status.get("phase")) or points[-1].phase,
        limits=_limits(kept.spec),
    )


# Reading what may be broken.


def _lines(path: Path) -> list[str]:
    whole = path.is_file() and path.stat().st_size <= MAX_FILE
    return path.read_text(errors="replace").splitlines() if whole else []


def _rows(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and _time(row.get("at")) is not None:
            yield row


def _object(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(errors="replace"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _mapping(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = value.get(name)
    return part if isinstance(part, dict) else {}


def _time(value: object) -> float | None:
    try:
        found = datetime.fromisoformat(str(value))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        return None


def _number(value: object) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0
    return float(value) if usable else None  # type: ignore[arg-type]


def _text(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


# From rows to points.


def _points(rows: Iterable[Mapping[str, Any]]) -> Iterator[Point]:
    before: dict[str, Figures] = {}
    for row in rows:
        weights = _mapping(row, "weights")
        versions = {}
        for revision, counted in list(_mapping(row, "versions").items())[:MAX_VERSIONS]:
            if isinstance(counted, dict):
                versions[revision] = _figures(counted, weights.get(revision), before.get(revision))
        yield Point(_time(row["at"]) or 0.0, _text(row.get("phase")), versions)
        before.update(versions)


def _figures(counted: Mapping[str, Any], weight: object, before: Figures | None) -> Figures:
    total, errors = int(_number(counted.get("requests")) or 0), int(_number(counted.get("errors")) or 0)
    return Figures(
        role=_text(counted.get("role")),
        weight=_number(weight) or 0.0,
        ready=int(_number(counted.get("ready")) or 0),
        requests=_since(total, before.total if before else 0),
        errors=_since(errors, before.total_errors if before else 0),
        total=total,
        total_errors=errors,
        rps=_number(counted.get("rps")),
        p50=_number(counted.get("p50Ms")),
        p99=_number(counted.get("p99Ms")),
        divergence=_number(counted.get("divergence")),
    )


def _since(total: int, before: int) -> int:
    """What was added; totals of a cluster begin anew with each rollout."""
    return total - before if total >= before else total


def _thinned(points: list[Point]) -> list[Point]:
    """At most MAX_POINTS: neighbours become one, which keeps their worst latency and all of their requests."""
    size = -(-len(points) // MAX_POINTS)
    if size <= 1:
        return points
    return [_merged(points[i : i + size]) for i in range(0, len(points), size)]


def _merged(points: list[Point]) -> Point:
    last = points[-1]
    return replace(last, versions={name: _merged_figures(name, points) for name in last.versions})


def _merged_figures(name: str, points: list[Point]) -> Figures:
    seen = [point.versions[name] for point in points if name in point.versions]
    rates = [figures.rps for figures in seen if figures.rps is not None]
    return replace(
        seen[-1],
        requests=sum(figures.requests for figures in seen),
        errors=sum(figures.errors for figures in seen),
        rps=sum(rates) / len(rates) if rates else None,
        p50=max((figures.p50 for figures in seen if figures.p50 is not None), default=None),
        p99=max((figures.p99 for figures in seen if figures.p99 is not None), default=None),
    )


def _happenings(rows: Iterable[Mapping[str, Any]]) -> Iterator[Happening]:
    for row in rows:
        events = row.get("events")
        for event in events if isinstance(events, list) else ():
            if isinstance(event, dict):
                yield Happening(
                    at=_time(row["at"]) or 0.0,
                    warning=event.get("type") == "Warning",
                    reason=_text(event.get("reason")),
                    message=_text(event.get("message")),
                    revision=_text(event.get("revision")),
                    number=int(_number(event.get("number")) or 0),
                    by=_person(_mapping(event, "by")),
                    checks=_checks(event.get("checks")),
                )


def _person(by: Mapping[str, Any]) -> str:
    return (_text(by.get("name")) or "a person") if by.get("kind") == "Person" else ""


def _names(rows: Iterable[Mapping[str, Any]], happenings: Iterable[Happening]) -> dict[str, str]:
    """Revisions in the order of their appearance; one that only events speak of has its revision for a name."""
    names: dict[str, str] = {}
    for row in rows:
        for revision, counted in _mapping(row, "versions").items():
            version = _text(counted.get("version")) if isinstance(counted, dict) else ""
            names[revision] = version or names.get(revision) or revision
    for happening in happenings:
        if happening.revision:
            names.setdefault(happening.revision, happening.revision)
    return dict(list(names.items())[-MAX_VERSIONS:])


# What the status adds.


def _ended(status: Mapping[str, Any]) -> dict[str, Ended]:
    entries = status.get("history")
    return {
        _text(entry.get("revision")): Ended(
            _text(entry.get("outcome")), _text(entry.get("reason")), _text(entry.get("digest"))
        )
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict)
    }


def _checks(checks: object) -> tuple[Check, ...]:
    return tuple(
        Check(_text(check.get("name")), _text(check.get("verdict")), _text(check.get("message")))
        for check in (checks if isinstance(checks, list) else ())
        if isinstance(check, dict)
    )


def _limits(spec: Mapping[str, Any]) -> dict[str, float]:
    """Limits of the analysis that a plot can show as a line."""
    from tidegate.api.scalars import DURATION_PART, parse_duration

    analysis = _mapping(_mapping(spec, "rollout"), "analysis")
    found = {}
    for quantile, longest in _mapping(analysis, "maxLatency").items():
        if quantile in ("p50", "p99") and DURATION_PART.search(str(longest)):
            found[quantile] = parse_duration(str(longest)).total_seconds() * 1000
    if share := _number(analysis.get("maxErrorRate")):
        found["errors"] = share
    return found
