"""A dashboard as a picture: its panels where Grafana puts them, with the lines that Prometheus answered."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from tidegate.report.scales import values_for

COLUMN, ROW = 50.0, 26.0  # of Grafana's grid of 24 columns
GAP, HEAD, FOOT, LEFT = 6.0, 32.0, 22.0, 60.0
COLOURS = ("#2a78c2", "#d6702a", "#2f9e6b", "#a04fb5", "#c23b53", "#6d7682")
FACTORS = {
    "s": (1e3, "ms"),
    "percentunit": (100.0, "%"),
    "bytes": (1 / 2**20, "MiB"),
    "ops": (1.0, "/s"),
    "reqps": (1.0, "/s"),
}
STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#4a5260}.title{font-weight:600;fill:#1c2430}.stat{font-size:28px;fill:#1c2430}"
    ".panel{fill:#fff;stroke:#d5dae2}.grid{stroke:#e6e9ee}.line{fill:none;stroke-width:1.6;stroke-linecap:round}"
)
Lines = Mapping[str, Sequence[tuple[float, float]]]  # by legend: Unix time and value


def draw(name: str, panels: Iterable[tuple[Mapping[str, Any], Lines]]) -> str:
    """An SVG of a dashboard; each panel as the chart has it, with its lines."""
    found = list(panels)
    height = max((panel["gridPos"]["y"] + panel["gridPos"]["h"]) * ROW for panel, _ in found)
    body = "\n".join(_panel(panel, lines) for panel, lines in found)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * COLUMN:g} {height:g}" role="img"'
        f' aria-label="{escape(name)}"><style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def _panel(panel: Mapping[str, Any], lines: Lines) -> str:
    at = panel["gridPos"]
    width, height = at["w"] * COLUMN - GAP, at["h"] * ROW - GAP
    factor, unit = _scale(panel["fieldConfig"]["defaults"]["unit"], max(v for line in lines.values() for _, v in line))
    scaled = {name: [(when, value * factor) for when, value in line] for name, line in lines.items()}
    inside = _stat(scaled, unit, width, height) if panel["type"] == "stat" else _lines(scaled, unit, width, height)
    return (
        f'<g transform="translate({at["x"] * COLUMN + GAP / 2:g} {at["y"] * ROW + GAP / 2:g})">'
        f'<rect class="panel" width="{width:g}" height="{height:g}" rx="4"/>'
        f'<text class="title" x="10" y="16">{escape(panel["title"])}</text>{"".join(inside)}</g>'
    )


def _scale(unit: str, largest: float) -> tuple[float, str]:
    return (1.0, "s") if unit == "s" and largest >= 1 else FACTORS.get(unit, (1.0, ""))


def _stat(lines: Lines, unit: str, width: float, height: float) -> Iterable[str]:
    last = next(iter(lines.values()))[-1][1]
    yield f'<text class="stat" x="{width / 2:g}" y="{height / 2 + 18:g}" text-anchor="middle">{last:.3g} {unit}</text>'


def _lines(lines: Lines, unit: str, width: float, height: float) -> Iterable[str]:
    times = [when for line in lines.values() for when, _ in line]
    first, span = min(times), max(max(times) - min(times), 1.0)
    axis = values_for(max(value for line in lines.values() for _, value in line), height - HEAD - FOOT - 8)
    for mark in axis.marks:
        y = HEAD + axis.y(mark)
        yield f'<line class="grid" x1="{LEFT:g}" x2="{width - 10:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 6:g}" y="{y + 4:.1f}" text-anchor="end">{mark:.3g} {unit}</text>'
    place = LEFT
    for number, (name, line) in enumerate(sorted(lines.items())):
        colour = COLOURS[number % len(COLOURS)]
        spots = [
            f"{LEFT + (when - first) / span * (width - LEFT - 10):.1f},{HEAD + axis.y(max(value, 0.0)):.1f}"
            for when, value in line
        ]
        spots += spots if len(spots) == 1 else []  # a dot
        yield f'<polyline class="line" stroke="{colour}" points="{" ".join(spots)}"/>'
        if place + len(name) * 6 < width:
            yield f'<text x="{place:g}" y="{height - 8:g}" style="fill:{colour}">{escape(name)}</text>'
        place += len(name) * 6 + 18


def numbers(series: Mapping[str, Any]) -> list[tuple[float, float]]:
    """The points of a line of Prometheus that are numbers."""
    points = [(float(when), float(value)) for when, value in series["values"]]
    return [(when, value) for when, value in points if math.isfinite(value)]
