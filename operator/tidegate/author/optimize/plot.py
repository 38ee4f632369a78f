"""Size, accuracy and latency of variants beside their parent, as one SVG file: a row for each, a panel per figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from tidegate.author.optimize.comparison import Comparison, Variant
from tidegate.plan.wording import figures
from tidegate.report.scales import WIDTH, values_for

TOP, ROW, FOOT = 84.0, 34.0, 34.0
NAMES, GAP, BAR = 130.0, 46.0, 16.0
STYLE = """
text { fill: #5b6778; font: 12px system-ui, sans-serif; } .title { fill: #17202e; font-size: 16px; }
.paper { fill: #ffffff; } .grid { stroke: #dde2ea; } .bar { fill: #0067b1; } .parent { fill: #8a97a8; }
.spread { stroke: #0067b1; stroke-width: 2; } .spread.parent { stroke: #8a97a8; }
.limit { stroke: #b3261e; stroke-dasharray: 5 4; }
@media (prefers-color-scheme: dark) {
  text { fill: #9aa7b8; } .title { fill: #e8edf4; } .paper { fill: #182029; } .grid { stroke: #2c3846; }
  .bar { fill: #5eb1ff; } .parent { fill: #75859a; } .spread { stroke: #5eb1ff; } .spread.parent { stroke: #75859a; }
  .limit { stroke: #ff8f85; }
}
"""  # no variables: not every viewer of SVG knows them


@dataclass(frozen=True, slots=True)
class _Panel:
    """One figure of all variants: `value`, with an interval around it; drawn from `start`, bars only from nothing."""

    title: str
    value: Callable[[Variant], float]
    interval: Callable[[Variant], tuple[float, float]]
    start: float
    end: float
    limit: float | None = None


def plot(found: Comparison, title: str) -> str:
    """The whole picture."""
    panels = _panels(found)
    height = TOP + ROW * len(found.variants) + FOOT
    width = (WIDTH - NAMES - GAP * len(panels)) / len(panels)
    inside = [f'<text class="title" x="16" y="26">{escape(title)}</text>']
    for at, variant in enumerate(found.variants):
        inside.append(f'<text x="16" y="{_middle(at) + 4:.1f}">{escape(variant.name)}</text>')
    for number, panel in enumerate(panels):
        inside += _drawn(panel, found, NAMES + number * (width + GAP), width)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
        f'aria-label="{escape(title)}"><style>{STYLE}</style>'
        f'<rect class="paper" width="{WIDTH:g}" height="{height:g}"/>'
    )
    return "\n".join([head, *inside, "</svg>", ""])


def _panels(found: Comparison) -> list[_Panel]:
    variants = found.variants
    sizes = [variant.bytes / 1024 for variant in variants]
    lowest = min(*(variant.quality.low for variant in variants), variants[0].quality.value - found.max_drop)
    highest = max(variant.quality.high for variant in variants)
    panels = [
        _Panel("size, KiB", lambda v: v.bytes / 1024, lambda v: (v.bytes / 1024, v.bytes / 1024), 0, _round(sizes)),
        _Panel(
            f"{found.metric}, {found.rows} rows",
            lambda v: v.quality.value,
            lambda v: (v.quality.low, v.quality.high),
            lowest - 0.1 * (highest - lowest),
            highest,
            variants[0].quality.value - found.max_drop,
        ),
    ]
    return panels + [_latency_panel(found, at) for at in range(len(variants[0].latencies))]


def _latency_panel(found: Comparison, at: int) -> _Panel:
    rows = found.variants[0].latencies[at].rows
    return _Panel(
        f"{rows} row{'s' if rows > 1 else ''}, µs",
        lambda v: v.latencies[at].us,
        lambda v: (v.latencies[at].low, v.latencies[at].high),
        0,
        _round([variant.latencies[at].high for variant in found.variants]),
    )


def _round(values: Sequence[float]) -> float:
    return values_for(max(values), 1).top


def _middle(at: int) -> float:
    return TOP + ROW * (at + 0.5)


def _drawn(panel: _Panel, found: Comparison, left: float, width: float) -> Iterable[str]:
    bottom = TOP + ROW * len(found.variants)

    def x(value: float) -> float:
        return left + (value - panel.start) / max(panel.end - panel.start, 1e-12) * width

    yield f'<text x="{left:.1f}" y="{TOP - 16:g}">{escape(panel.title)}</text>'
    for value in (panel.start, panel.end):
        yield f'<line class="grid" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{TOP - 6:g}" y2="{bottom:g}"/>'
        yield f'<text x="{x(value):.1f}" y="{bottom + 18:g}" text-anchor="middle">{figures(value)}</text>'
    if panel.limit is not None:
        at = x(panel.limit)
        yield f'<line class="limit" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 6:g}" y2="{bottom:g}"><title>'
        yield f"the least that is allowed: {panel.limit:.4f}</title></line>"
    for number, variant in enumerate(found.variants):
        kind = " parent" if number == 0 else ""
        yield from _mark(panel, variant, _middle(number), x, kind)


def _mark(panel: _Panel, variant: Variant, y: float, x: Callable[[float], float], kind: str) -> Iterable[str]:
    value, (low, high) = panel.value(variant), panel.interval(variant)
    title = f"<title>{escape(variant.name)}: {figures(value)} ({figures(low)} to {figures(high)})</title>"
    if panel.start == 0:
        yield (
            f'<rect class="bar{kind}" x="{x(0):.1f}" y="{y - BAR / 2:.1f}" width="{x(value) - x(0):.1f}" '
            f'height="{BAR:g}">{title}</rect>'
        )
    else:
        yield f'<circle class="bar{kind}" cx="{x(value):.1f}" cy="{y:.1f}" r="4">{title}</circle>'
        yield f'<line class="spread{kind}" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    yield f'<text x="{x(value):.1f}" y="{y - BAR / 2 - 3:.1f}" text-anchor="middle">{figures(value)}</text>'
