"""The plot of docs/analysis.md: what each rule made of the simulated rollouts, as one SVG without any library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

WIDTH, ROW, GAP, LEFT, BAR = 960, 22, 30, 250, 300
COLOURS = {"rolledback": "#c2410c", "inconclusive": "#cbd5e1", "promoted": "#0f766e"}
NAMES = {"rolledback": "rolled back", "inconclusive": "undecided", "promoted": "promoted"}
INK, PALE = "#1e293b", "#64748b"
RULES = {
    "2 failed intervals": "2 failed intervals",
    "5 failed intervals": "5 failed intervals",
    "3 in a row": "3 in a row",
    "Tidegate": "tidegate",
}
RATES = ("0.2%", "0.5%", "0.8%", "2.0%", "5.0%")
BURSTS = ("single errors", "bursts of 5", "bursts of 10", "bursts of 25")

Rows = Sequence[dict[str, Any]]


def _text(x: float, y: float, text: str, *, size: int = 13, fill: str = INK, more: str = "") -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}" {more}>{escaped}</text>'


def _bar(x: float, y: float, width: float, row: dict[str, Any]) -> Iterable[str]:
    for outcome, colour in COLOURS.items():
        part = width * row[outcome]
        if part:
            label = f"{NAMES[outcome]} {row[outcome]:.1%}"
            yield f'<rect x="{x:.1f}" y="{y}" width="{part:.1f}" height="{ROW - 4}" fill="{colour}">'
            yield f"<title>{label}</title></rect>"
            if part > 40:
                ink = INK if outcome == "inconclusive" else "#ffffff"
                yield _text(x + part / 2, y + 13, f"{row[outcome]:.0%}", size=11, fill=ink, more='text-anchor="middle"')
        x += part


def _legend(y: float) -> Iterable[str]:
    x = LEFT
    for outcome, colour in COLOURS.items():
        yield f'<rect x="{x}" y="{y - 11}" width="14" height="14" fill="{colour}"/>'
        yield _text(x + 20, y, NAMES[outcome])
        x += 120


def _by_rule(y: float, rows: Rows, peers: Rows) -> tuple[float, list[str]]:
    """One candidate under the rules of others and under ours."""
    out = []
    found = {(row["scenario"], row["rule"]): row for row in [*rows, *peers]}
    scenarios = {
        "healthy: 0.2 % errors": "5 req/s, single errors, 0.2%",
        "healthy: 0.5 % errors": "5 req/s, single errors, 0.5%",
        "healthy: 30 s of outage on both": "5 req/s, an outage of 30 s hits both",
        "bad: 2 % errors": "5 req/s, single errors, 2.0%",
        "bad: 5 % errors": "5 req/s, single errors, 5.0%",
    }
    for title, name in scenarios.items():
        out.append(_text(24, y + 14, title, more='font-weight="600"'))
        for label, rule in RULES.items():
            out.append(_text(LEFT + 40, y + 14, label, fill=PALE, size=12))
            out += _bar(LEFT + 180, y, WIDTH - LEFT - 204, found[(name, rule)])
            y += ROW
        y += 10
    return y, out


def _by_traffic(y: float, rows: Rows) -> tuple[float, list[str]]:
    """Our rule in every cell of the table."""
    out = []
    found = {row["scenario"]: row for row in rows}
    width = (WIDTH - 24 - 150) / len(RATES)
    for column, rate in enumerate(RATES):
        what = "healthy" if column < 3 else "bad"
        x = 150 + column * width
        out.append(_text(x, y, f"{rate.replace('%', ' %')} ({what})", size=12, fill=PALE))
    y += 10
    for rps in (5, 50):
        for burst in BURSTS:
            out.append(_text(24, y + 14, f"{rps}/s, {burst}", size=12))
            for column, rate in enumerate(RATES):
                out += _bar(150 + column * width, y, width - 12, found[f"{rps} req/s, {burst}, {rate}"])
            y += ROW
        y += 8
    return y, out


def plot(rows: Rows, peers: Rows) -> str:
    """The whole SVG."""
    out = [_text(24, 34, "What rules make of a candidate with 5 requests per second, limit 1 %, ten minutes", size=16)]
    out += _legend(62)
    y, part = _by_rule(84, rows, peers)
    out += part
    out.append(_text(24, y + GAP, "Tidegate's rule, by traffic of the candidate and size of the bursts", size=16))
    y, part = _by_traffic(y + GAP + 28, rows)
    out += part
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 10:g}" width="{WIDTH}" role="img" '
        'aria-label="Shares of simulated rollouts that were rolled back, promoted or left undecided" '
        'font-family="system-ui, sans-serif">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{y + 10:g}" rx="8" fill="#ffffff"/>', *out, "</svg>", ""])
