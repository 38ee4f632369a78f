"""The plots as SVG, drawn here: all share one time axis, so that a verdict can be followed down the page.

Colours are classes (`v0` … `v7`) that the page's style sheet fills for light and dark; lines also differ in their
dashes, and every mark has a title, so nothing depends on colour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from statistics import median

from tidegate.plan.wording import figures
from tidegate.report.course import Course, Figures, Happening, Point
from tidegate.report.scales import LEFT, RIGHT, WIDTH, Times, Values, clock, values_by_factors, values_for

HEIGHT = 150.0
TOP = 10.0
FOOT = 24.0
COLOURS = 8
GAP = 6.0  # times the usual distance of two points: a line does not cross a longer silence
LANE = 20.0
MAX_LANES = 4
ORDERS = 30.0  # latencies that differ by more are drawn by factors
MARK = 8.0

GOOD, BAD, STEP, START, NOTE = "good", "bad", "step", "start", "note"
SYMBOLS = {GOOD: "✓", BAD: "✕", STEP: "▲", START: "●", NOTE: "!"}
KINDS = {"Promoted": GOOD, "WeightRaised": STEP, "StepPromoted": STEP, "PromotedInFull": STEP, "RolloutStarted": START}

Value = Callable[[Figures], float | None]


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot; `also` is a second figure of each version, drawn as a thin line."""

    key: str
    title: str
    unit: str
    value: Value
    also: Value | None = None
    limit: float | None = None
    hint: str = ""


def plots_of(course: Course) -> list[Plot]:
    """The plots that a page shows below the weights; one without any value is left out."""
    limits = course.limits
    errors = limits.get("errors")
    several = any(figures.ready > 1 for point in course.points for figures in _all(point))  # else the same as above
    wanted = [
        Plot("rps", "Requests per second", "", lambda f: f.rps),
        Plot("errors", "Errors", "%", _percent(lambda f: f.error_share), limit=errors and errors * 100),
        Plot("latency", "Latency", "ms", lambda f: f.p99, lambda f: f.p50, limits.get("p99"), "p99 bold, p50 thin"),
        Plot("load", "Requests per second and server", "", lambda f: f.rps_per_server if several else None),
        Plot("divergence", "Answers that differ from the other version's", "%", _percent(lambda f: f.divergence)),
    ]
    return [plot for plot in wanted if any(v is not None for p in course.points for v in map(plot.value, _all(p)))]


def _all(point: Point) -> Iterable[Figures]:
    return point.versions.values()


def _percent(value: Value) -> Value:
    def percent(seen: Figures) -> float | None:
        share = value(seen)
        return None if share is None else share * 100

    return percent


def kind_of(happening: Happening) -> str:
    """What a mark looks like."""
    return BAD if happening.warning else KINDS.get(happening.reason, NOTE)


def times_of(course: Course) -> Times:
    """From the first point to the last."""
    start, end = course.points[0].at, course.points[-1].at
    return Times(start, max(end, start + 1))


def colour(course: Course, revision: str) -> str:
    """The class of a version's colour and dashes; those that a plot shows come first, so that they differ most."""
    used = course.used
    others = [name for name in course.revisions if name not in used]
    return f"v{[*used, *others].index(revision) % COLOURS}"


# Frames.


def _svg(height: float, label: str, inside: Iterable[str], role: str = "img") -> str:
    body = "\n".join(inside)
    return f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="{role}" aria-label="{escape(label)}">\n{body}\n</svg>'


def _grid(times: Times, values: Values, unit: str, top: float) -> Iterable[str]:
    for value in values.marks:
        y = top + values.y(value)
        suffix = f" {unit}" if unit else ""
        yield f'<line class="grid" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 8:g}" y="{y + 4:.1f}" text-anchor="end">{figures(value)}{suffix}</text>'
    bottom = top + values.height
    for at, text in times.ticks():
        x = times.x(at)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.1f}" y2="{bottom + 4:.1f}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{text}</text>'


def _rules(course: Course, times: Times, top: float, bottom: float) -> Iterable[str]:
    """Thin lines where a verdict was spoken, through every plot."""
    for happening in course.happenings:
        kind = kind_of(happening)
        if kind in (GOOD, BAD) and times.start <= happening.at <= times.end:
            x = times.x(happening.at)
            yield f'<line class="rule {kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'


def _cursor(top: float, bottom: float) -> str:
    return f'<line class="cursor" x1="0" x2="0" y1="{top:.1f}" y2="{bottom:.1f}" hidden=""/>'


# Lines.


def draw(course: Course, plot: Plot) -> str:
    """One plot of all versions."""
    times = times_of(course)
    values = _axis(course, plot)
    bottom = TOP + HEIGHT
    inside = [*_grid(times, values, plot.unit, TOP), *_rules(course, times, TOP, bottom)]
    if plot.limit is not None:
        y = TOP + values.y(plot.limit)
        above = y - 5 if y > TOP + LANE else y + 14
        inside.append(f'<line class="limit" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
        text = f"limit {figures(plot.limit)} {plot.unit}"
        inside.append(f'<text class="limit" x="{WIDTH - RIGHT - 4:g}" y="{above:.1f}" text-anchor="end">{text}</text>')
    for revision in course.used:
        if plot.also:
            inside += _line(course, revision, plot.also, times, values, thin=True)
        inside += _line(course, revision, plot.value, times, values)
    inside.append(_cursor(TOP, bottom))
    return _svg(bottom + FOOT, f"{plot.title} by version over time", inside)


def _axis(course: Course, plot: Plot) -> Values:
    figures_of = [plot.value, plot.also] if plot.also else [plot.value]
    seen = [v for p in course.points for f in _all(p) for of in figures_of if (v := of(f)) is not None]
    largest = max([*seen, plot.limit or 0.0])
    positive = [value for value in seen if value > 0]
    if plot.also and positive and largest / min(positive) > ORDERS:
        return values_by_factors(min(positive), largest, HEIGHT)
    return values_for(largest, HEIGHT)


def _line(
    course: Course, revision: str, value: Value, times: Times, values: Values, *, thin: bool = False
) -> Iterable[str]:
    for part in _unbroken(course.points, revision, value):
        spots = [f"{times.x(at):.1f},{TOP + values.y(v):.1f}" for at, v in part]
        classes = f"line {colour(course, revision)}{' thin' if thin else ''}"
        title = f"<title>{escape(course.names[revision])}</title>"
        if len(spots) == 1:
            x, y = spots[0].split(",")
            yield f'<circle class="dot {colour(course, revision)}" cx="{x}" cy="{y}" r="2">{title}</circle>'
        else:
            yield f'<polyline class="{classes}" points="{" ".join(spots)}">{title}</polyline>'


def _unbroken(points: Sequence[Point], revision: str, value: Value) -> Iterable[list[tuple[float, float]]]:
    """Runs of points in which the version has a value and nobody was silent for long."""
    usual = median([b.at - a.at for a, b in pairwise(points)]) if len(points) > 1 else 1.0
    run: list[tuple[float, float]] = []
    for point in points:
        seen = point.versions.get(revision)
        found = value(seen) if seen else None
        if found is None:
            continue
        if run and point.at - run[-1][0] > GAP * max(usual, 1.0):
            yield run
            run = []
        run.append((point.at, found))
    if run:
        yield run


# Weights and marks.


def draw_weights(course: Course) -> str:
    """Which share each version had, with a mark for everything that happened."""
    times = times_of(course)
    marks = _lanes(course, times)
    top = TOP + LANE * max([1, *(lane + 1 for _, _, lane in marks)])
    values = Values(100.0, (0.0, 25.0, 50.0, 75.0, 100.0), HEIGHT)
    inside = [*_grid(times, values, "%", top), *_areas(course, times, values, top)]
    inside += _rules(course, times, top, top + HEIGHT)
    inside += [_mark(place, happening, times, lane) for place, happening, lane in marks]
    inside.append(_cursor(top, top + HEIGHT))
    # A group: inside an image nobody looks for links.
    return _svg(top + HEIGHT + FOOT, "Share of the requests by version over time", inside, role="group")


def _lanes(course: Course, times: Times) -> list[tuple[int, Happening, int]]:
    """Marks with the row they stand in, so that they do not cover each other."""
    ends = [-1.0] * MAX_LANES
    placed = []
    for place, happening in enumerate(course.happenings):
        x = times.x(min(max(happening.at, times.start), times.end))
        lane = next((i for i, end in enumerate(ends) if x - MARK > end), MAX_LANES - 1)
        ends[lane] = x + MARK
        placed.append((place, happening, lane))
    return placed


def _mark(place: int, happening: Happening, times: Times, lane: int) -> str:
    kind, x = kind_of(happening), times.x(min(max(happening.at, times.start), times.end))
    y = TOP + LANE * lane + MARK
    title = escape(f"{clock(happening.at)} {happening.reason}: {happening.message}")
    return (
        f'<a href="#happening-{place}" class="mark {kind}"><title>{title}</title>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{MARK:g}"/>'
        f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">{SYMBOLS[kind]}</text></a>'
    )


def _areas(course: Course, times: Times, values: Values, top: float) -> Iterable[str]:
    """Stacked rectangles: a weight holds until the next point says otherwise."""
    for revision in course.revisions:
        shapes = []
        for now, following in pairwise(course.points):
            low, high = _stacked(course, now, revision)
            if high > low:
                shapes.append((now.at, following.at, low, high))
        path = "".join(
            f"M{times.x(a):.1f} {top + values.y(high):.1f}H{times.x(b):.1f}V{top + values.y(low):.1f}H{times.x(a):.1f}Z"
            for a, b, low, high in _joined(shapes)
        )
        if path:
            name = escape(course.names[revision])
            yield f'<path class="area {colour(course, revision)}" d="{path}"><title>{name}</title></path>'


def _stacked(course: Course, point: Point, revision: str) -> tuple[float, float]:
    low = 0.0
    for other in course.revisions:
        weight = point.versions[other].weight if other in point.versions else 0.0
        if other == revision:
            return low, min(100.0, low + weight)
        low += weight
    return low, low


Shape = tuple[float, float, float, float]


def _joined(shapes: Iterable[Shape]) -> list[Shape]:
    """Neighbours of the same height as one."""
    found: list[Shape] = []
    for start, end, low, high in shapes:
        if found and found[-1][1:] == (start, low, high):
            start = found.pop()[0]  # noqa: PLW2901 - the rectangle grows to the left
        found.append((start, end, low, high))
    return found
