"""Latency against load as one SVG file: with the report's axes, and a style of its own for light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

from tidegate.bench.run import Step
from tidegate.bench.sweep import Findings
from tidegate.plan.wording import figures
from tidegate.report.scales import LEFT, RIGHT, WIDTH, Values, values_by_factors, values_for

TOP, HEIGHT, FOOT = 64.0, 300.0, 46.0
ORDERS = 30.0  # latencies that differ by more are drawn by factors
MOST_SHOWN = 20.0  # times the limit: how far beyond the knee it goes says nothing
LINES: dict[str, Callable[[Step], float]] = {"p99": lambda s: s.p99, "p90": lambda s: s.p90, "p50": lambda s: s.p50}
STYLE = """
text { fill: #5b6778; font: 12px system-ui, sans-serif; } .title { fill: #17202e; font-size: 16px; }
.paper { fill: #ffffff; } .grid { stroke: #dde2ea; } .line { fill: none; stroke-width: 2; } .spread { stroke-width: 1; }
.p99 { stroke: #0067b1; } .p90 { stroke: #12806a; stroke-dasharray: 8 3; }
.p50 { stroke: #c2500b; stroke-dasharray: 2 3; }
.limit { stroke: #b3261e; stroke-dasharray: 5 4; } .knee { stroke: #0b7a4b; }
@media (prefers-color-scheme: dark) {
  text { fill: #9aa7b8; } .title { fill: #e8edf4; } .paper { fill: #182029; } .grid { stroke: #2c3846; }
  .p99 { stroke: #5eb1ff; } .p90 { stroke: #4fd1b0; } .p50 { stroke: #ff9d5c; }
  .limit { stroke: #ff8f85; } .knee { stroke: #5fd39b; }
}
"""  # no variables: not every viewer of SVG knows them


def plot(found: Findings, title: str) -> str:
    """The open loop's levels as lines over the rate, with the limit and the knee; latencies in milliseconds."""
    steps = found.rising
    rates, values = _rates(steps), _latencies(steps, found.limit)
    inside = [*_frame(title, rates, values), *_bounds(found, rates, values)]
    for number, (name, latency) in enumerate(LINES.items()):
        inside += _line(name, [(rates(step.rate), _y(values, latency(step))) for step in steps], number)
    inside += [_spread(step, rates, values) for step in steps]
    height = TOP + HEIGHT + FOOT
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
        f'aria-label="{escape(title)}"><style>{STYLE}</style>'
        f'<rect class="paper" width="{WIDTH:g}" height="{height:g}"/>'
    )
    return "\n".join([head, *inside, "</svg>", ""])


class _Rates:
    """The horizontal axis: requests a second."""

    def __init__(self, largest: float) -> None:
        self.axis = values_for(largest, WIDTH - LEFT - RIGHT, wanted=8)

    def __call__(self, rate: float) -> float:
        return LEFT + self.axis.height - self.axis.y(rate)


def _rates(steps: Sequence[Step]) -> _Rates:
    return _Rates(max((step.rate for step in steps), default=1.0))


def _latencies(steps: Sequence[Step], limit: float) -> Values:
    most = MOST_SHOWN * limit
    seen = [min(value, most) for step in steps for of in LINES.values() if math.isfinite(value := of(step))]
    largest = max([*seen, limit if math.isfinite(limit) else 0.0, 1e-6]) * 1e3
    smallest = min([value for value in seen if value > 0], default=1e-6) * 1e3
    if largest > ORDERS * smallest:
        return values_by_factors(smallest, largest, HEIGHT)
    return values_for(largest, HEIGHT)


def _y(values: Values, seconds: float) -> float:
    return TOP + values.y(seconds * 1e3)


def _frame(title: str, rates: _Rates, values: Values) -> Iterable[str]:
    yield f'<text class="title" x="{LEFT:g}" y="24">{escape(title)}</text>'
    right, bottom = WIDTH - RIGHT, TOP + HEIGHT
    for value in values.marks:
        y = TOP + values.y(value)
        yield f'<line class="grid" x1="{LEFT:g}" x2="{right:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 8:g}" y="{y + 4:.1f}" text-anchor="end">{figures(value)} ms</text>'
    for rate in rates.axis.marks:
        yield f'<text x="{rates(rate):.1f}" y="{bottom + 18:g}" text-anchor="middle">{figures(rate)}</text>'
    middle = (LEFT + right) / 2
    yield f'<text x="{middle:g}" y="{bottom + 36:g}" text-anchor="middle">requests per second</text>'


def _bounds(found: Findings, rates: _Rates, values: Values) -> Iterable[str]:
    """The limit across, and the knee upright."""
    if math.isfinite(found.limit):
        y = _y(values, found.limit)
        yield f'<line class="limit" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT + 6:g}" y="{y - 5:.1f}">limit of the p99: {figures(found.limit * 1e3)} ms</text>'
    for step, name in ((found.knee, "knee"), (found.target, "target")):
        if step is not None:
            x = rates(step.rate)
            yield f'<line class="knee" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP:g}" y2="{TOP + HEIGHT:g}"/>'
            yield (
                f'<text x="{x - 5:.1f}" y="{TOP + HEIGHT - 6:g}" text-anchor="end">{name} {figures(step.rate)}/s</text>'
            )


def _line(name: str, spots: Sequence[tuple[float, float]], number: int) -> Iterable[str]:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    yield f'<polyline class="line {name}" points="{points}"><title>{name}</title></polyline>'
    x = LEFT + 80 * number
    yield f'<line class="line {name}" x1="{x:g}" x2="{x + 30:g}" y1="44" y2="44"/>'
    yield f'<text x="{x + 36:g}" y="48">{name}</text>'


def _spread(step: Step, rates: _Rates, values: Values) -> str:
    """Between which latencies the p99 is; upwards no further than what was seen, where that is not known."""
    x = rates(step.rate)
    low, high = (_y(values, value if math.isfinite(value) else step.p99) for value in step.p99_interval)
    return f'<line class="spread p99" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
