"""Small tables as HTML, for what a notebook shows in place of an object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def page(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """A heading over names and values; an empty value leaves its row out."""
    lines = [
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(value)}</td></tr>"
        for name, value in rows
        if value
    ]
    return f"<div><b>{escape(title)}</b><table>{''.join(lines)}</table></div>"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A heading over rows of cells."""
    head = "".join(f"<th style='text-align:left'>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<div><b>{escape(title)}</b><table><tr>{head}</tr>{body}</table></div>"
