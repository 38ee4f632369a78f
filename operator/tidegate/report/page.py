"""The page of rollouts: what a frame holds, with all text that came from outside escaped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tidegate.page import cell, footer, framed, own, table, write_page
from tidegate.plan.wording import figures
from tidegate.report.course import Check, Course, Source, read_courses
from tidegate.report.plots import BAD, GOOD, NOTE, colour, draw, draw_weights, kind_of, plots_of, times_of
from tidegate.report.scales import LEFT, RIGHT, WIDTH, clock, day, lasting
from tidegate.report.summary import PROMOTED, REFUSED, ROLLED_BACK, SERVING, Summary, summaries

TONES = {SERVING: GOOD, PROMOTED: GOOD, ROLLED_BACK: BAD, REFUSED: BAD}
TABLE_ROWS = 120
SHORT_DIGEST = 19


def write_report(sources: Sequence[Source], target: Path) -> None:
    """Write the page of these deployments; a reader never sees half of it."""
    write_page(render(read_courses(sources)), target)


def render(courses: Sequence[Course]) -> str:
    """The whole page."""
    style, script = (own("tidegate.report", name) for name in ("page.css", "page.js"))
    sections = (_section(course, f"course-{place}") for place, course in enumerate(courses))
    body = "\n".join([*sections, footer("tidegate report", "Times are UTC.")])
    return framed(", ".join(course.name for course in courses), "report", body, style=style, script=script)


def _section(course: Course, key: str) -> str:
    start, end = course.points[0].at, course.points[-1].at
    plots = "\n".join(
        f"<figure><h3>{escape(plot.title)}{_hint(plot.hint)}</h3>{draw(course, plot)}</figure>"
        for plot in plots_of(course)
    )
    return f"""<section data-course="{key}">
<header>
<h1>{escape(course.name)}</h1>
<p class="under">{escape(_now(course))} · {day(start)}, {lasting(end - start)}</p>
<p class="under">{escape(_in_all(summaries(course)))}</p>
</header>
<h2>Versions</h2>
<ul class="versions">
{"".join(_card(course, found) for found in summaries(course))}
</ul>
<h2>Over time</h2>
{_legend(course)}
<figure><h3>Share of the requests</h3>{draw_weights(course)}</figure>
{plots}
<h2>What happened</h2>
{_happenings(course)}
{_checks(course)}
{_numbers(course)}
<script type="application/json" id="{key}">{_embedded(_spots(course))}</script>
</section>"""


def _hint(text: str) -> str:
    return f'<span class="hint">{escape(text)}</span>' if text else ""


def _now(course: Course) -> str:
    version = course.names.get(course.stable)
    return f"version {version} serves, {course.phase}" if version else course.phase


def _in_all(found: Sequence[Summary]) -> str:
    requests, errors = sum(one.requests for one in found), sum(one.errors for one in found)
    endings = Counter(one.outcome.lower() for one in found)
    ended = ", ".join(f"{count} {outcome}" for outcome, count in endings.items())
    return f"{requests:,} requests, {errors:,} errors · versions: {ended}"


# Versions.


def _card(course: Course, found: Summary) -> str:
    tone = TONES.get(found.outcome, NOTE)
    identity = f"{found.revision} {found.digest[:SHORT_DIGEST]}".strip()
    why = ""
    if found.message or found.reason:
        full = escape(found.message, quote=True)  # the card shows three lines of it, the table below all
        why = f'<p class="why" title="{full}">{_bold(found.reason)}{full}</p>'
    return f"""<li class="card {colour(course, found.revision)}">
<header><span class="name">{escape(found.name)}</span>{_badge(found.outcome, tone)}</header>
<div class="id">{escape(identity)}</div>
{why}
<dl>{"".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in _facts(found))}</dl>
</li>
"""


def _bold(reason: str) -> str:
    return f"<strong>{escape(reason)}</strong> " if reason else ""


def _facts(found: Summary) -> Iterable[tuple[str, str]]:
    yield "requests", f"{found.requests:,}"
    yield "errors", f"{found.errors:,}"
    yield "highest weight", f"{figures(found.highest_weight)} %"
    if found.p50 is not None:
        yield "p50", f"{figures(found.p50)} ms"
    if found.p99 is not None:
        yield "worst p99", f"{figures(found.p99)} ms"


def _legend(course: Course) -> str:
    items = "".join(
        f'<li><svg viewBox="0 0 30 10" aria-hidden="true"><line class="line {colour(course, revision)}" x1="1" x2="29"'
        f' y1="5" y2="5"/></svg>{escape(name)}<output data-revision="{escape(revision)}"></output></li>'
        for revision in course.used
        for name in [course.names[revision]]
    )
    return f'<ul class="legend">{items}<li class="time"></li></ul>'


# Tables.


def _happenings(course: Course) -> str:
    rows = (
        f'<tr id="happening-{place}">{cell(clock(event.at), "time")}'
        f"{cell(course.names.get(event.revision, event.revision))}"
        f"<td>{_badge(event.reason, kind_of(event))}</td>{cell(event.by)}"
        f'<td class="text">{escape(event.message)}{_stood_on(event.checks)}</td></tr>\n'
        for place, event in enumerate(course.happenings)
    )
    return table(("time", "version", "what", "who", "why"), rows)


def _stood_on(checks: Sequence[Check]) -> str:
    if not checks:
        return ""
    return f"<details><summary>checks</summary>{_check_table(checks)}</details>"


def _checks(course: Course) -> str:
    if not course.checks:
        return ""
    return "<h2>Checks of the rollout in progress</h2>" + _check_table(course.checks)


def _check_table(checks: Sequence[Check]) -> str:
    tones = {"pass": GOOD, "fail": BAD}
    rows = (
        f"<tr>{cell(check.name)}<td>{_badge(check.verdict, tones.get(check.verdict, NOTE))}</td>"
        f"{cell(check.message, 'text')}</tr>\n"
        for check in checks
    )
    return table(("check", "verdict", "numbers"), rows)


def _badge(text: str, tone: str) -> str:
    return f'<span class="badge {tone}">{escape(text)}</span>'


def _numbers(course: Course) -> str:
    """The plots as a table, for those who cannot see them."""
    every = -(-len(course.points) // TABLE_ROWS)
    rows = (
        f"<tr>{cell(clock(point.at), 'time')}{cell(course.names[revision])}"
        f"{''.join(cell(number, 'number') for number in numbers)}</tr>\n"
        for point in course.points[::every]
        for revision, seen in point.versions.items()
        if revision in course.names and (seen.weight or seen.requests)
        for numbers in [(_shown(seen.weight), _shown(seen.rps), seen.errors, _shown(seen.p50), _shown(seen.p99))]
    )
    heads = ("time", "version", "weight %", "requests/s", "errors", "p50 ms", "p99 ms")
    return f"<details><summary>The plots as numbers</summary>{table(heads, rows)}</details>"


def _shown(value: float | None) -> str:
    return "" if value is None else figures(value)


# For the script.


def _spots(course: Course) -> dict[str, Any]:
    times = times_of(course)
    return {
        "start": times.start,
        "end": times.end,
        "width": WIDTH,
        "left": LEFT,
        "right": RIGHT,
        "at": [point.at for point in course.points],
        "versions": {
            revision: [
                [seen.weight, seen.rps, seen.p99, seen.errors] if (seen := point.versions.get(revision)) else None
                for point in course.points
            ]
            for revision in course.revisions
        },
    }


def _embedded(value: object) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
