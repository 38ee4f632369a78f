"""The page: one HTML file with everything inside it.

A policy in its head forbids it to fetch or run anything but its own style sheet and script, so not even text that came
from outside could reach the network; and all such text is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

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
    page = render(read_courses(sources))
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(target)


def render(courses: Sequence[Course]) -> str:
    """The whole page."""
    style, script = _own("page.css"), _own("page.js")
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    title = escape(", ".join(course.name for course in courses))
    body = "\n".join(_section(course, f"course-{place}") for place, course in enumerate(courses))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title} · Tidegate report</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
<footer>Made by tidegate report. Times are UTC. This page holds all it shows and fetches nothing.</footer>
</main>
<script>{script}</script>
</body>
</html>
"""


def _own(name: str) -> str:
    return files("tidegate.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


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
<header><span class="name">{escape(found.name)}</span><span class="badge {tone}">{escape(found.outcome)}</span></header>
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
    rows = "".join(
        f'<tr id="happening-{place}"><td class="time">{clock(event.at)}</td>'
        f"<td>{escape(course.names.get(event.revision, event.revision))}</td>"
        f'<td><span class="badge {kind_of(event)}">{escape(event.reason)}</span></td>'
        f"<td>{escape(event.by)}</td>"
        f'<td class="text">{escape(event.message)}{_stood_on(event.checks)}</td></tr>'
        for place, event in enumerate(course.happenings)
    )
    return _table(("time", "version", "what", "who", "why"), rows)


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
    rows = "".join(
        f'<tr><td>{escape(check.name)}</td><td><span class="badge {tones.get(check.verdict, NOTE)}">'
        f'{escape(check.verdict)}</span></td><td class="text">{escape(check.message)}</td></tr>'
        for check in checks
    )
    return _table(("check", "verdict", "numbers"), rows)


def _table(heads: Sequence[str], rows: str) -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _numbers(course: Course) -> str:
    """The plots as a table, for those who cannot see them."""
    every = -(-len(course.points) // TABLE_ROWS)
    rows = "".join(
        f'<tr><td class="time">{clock(point.at)}</td><td>{escape(course.names[revision])}</td>'
        + "".join(f'<td class="number">{cell}</td>' for cell in cells)
        + "</tr>"
        for point in course.points[::every]
        for revision, seen in point.versions.items()
        if revision in course.names and (seen.weight or seen.requests)
        for cells in [(_cell(seen.weight), _cell(seen.rps), str(seen.errors), _cell(seen.p50), _cell(seen.p99))]
    )
    heads = ("time", "version", "weight %", "requests/s", "errors", "p50 ms", "p99 ms")
    return f"<details><summary>The plots as numbers</summary>{_table(heads, rows)}</details>"


def _cell(value: float | None) -> str:
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
