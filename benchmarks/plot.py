"""Bar charts as plain SVG text: enough for a page of figures, and nothing to install."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#0b6e99", "#c9ced6", "#a3abb8", "#78828f", "#4d5560", "#d9a441", "#2b2f36")
WIDTH, BAR, GAP, LEFT, TOP = 760, 14, 16, 130, 64


def bars(title: str, groups: Mapping[str, Mapping[str, float]], series: Sequence[str]) -> str:
    """Horizontal bars from 0 to 1 (or the largest value), one group under the other."""
    largest = max([1.0, *(value for group in groups.values() for value in group.values())])
    scale = (WIDTH - LEFT - 60) / largest
    parts, y = [_text(10, 24, title, 15, "bold")], TOP
    for index, name in enumerate(series):
        x = 10 + index * 110
        parts.append(f'<rect x="{x}" y="36" width="12" height="12" fill="{COLOURS[index]}"/>' + _text(x + 18, 46, name))
    for label, group in groups.items():
        parts.append(_text(10, y + 11, label))
        for name, value in group.items():
            colour = COLOURS[series.index(name)]
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR - 2}" fill="{colour}"/>')
            parts.append(_text(LEFT + value * scale + 5, y + 10, f"{value:.3g}", 11))
            y += BAR
        y += GAP
    frame = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="sans-serif">'
    return "\n".join([frame, f'<rect width="{WIDTH}" height="{y}" fill="white"/>', *parts, "</svg>"]) + "\n"


def _text(x: float, y: float, words: str, size: int = 12, weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" font-weight="{weight}" fill="#222">{escape(words)}</text>'
