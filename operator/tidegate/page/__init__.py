"""The frame of every HTML file that we write: one file with everything inside it, in light and dark.

A policy in its head forbids it to fetch or run anything but its own style sheets and script, so not even text that came
from outside could reach the network.  Titles, heads and cells are escaped here, a body by whoever writes it.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path

ALONE = "This page holds all it shows and fetches nothing."


def framed(title: str, kind: str, body: str, *, style: str = "", drawn: str = "", script: str = "") -> str:
    """The whole page around `body`; `drawn` is the style sheet that stands in an SVG of the body."""
    sheets = [sheet for sheet in (own("tidegate.page", "page.css"), style) if sheet]
    said = "".join(f"<style>{sheet}</style>\n" for sheet in sheets)
    run = f"<script>{script}</script>\n" if script else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_policy([*sheets, drawn], script)}">
<title>{escape(title)} · Tidegate {escape(kind)}</title>
{said}</head>
<body>
<main>
{body}
</main>
{run}</body>
</html>
"""


def _policy(sheets: Iterable[str], script: str) -> str:
    styles = " ".join(_hash(sheet) for sheet in sheets if sheet)
    scripts = f"script-src {_hash(script)}; " if script else ""
    return f"default-src 'none'; style-src {styles}; {scripts}img-src data:; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def own(package: str, name: str) -> str:
    """The text of a file that lies in a package of ours: a style sheet, a script."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def footer(command: str, further: str = "") -> str:
    """Which command made the page, and what else is to be known of it."""
    return f"<footer>Made by {escape(' '.join(filter(None, [f'{command}.', further, ALONE])))}</footer>"


def cell(value: object, kind: str = "") -> str:
    """One cell: `number`, `time`, `text` and `code` are kinds that the frame's style knows."""
    return f'<td class="{escape(kind)}">{escape(str(value))}</td>' if kind else f"<td>{escape(str(value))}</td>"


def row(cells: Iterable[object]) -> str:
    """A line of a table."""
    return f"<tr>{''.join(map(cell, cells))}</tr>\n"


def table(heads: Iterable[str], rows: Iterable[str]) -> str:
    """A table of such lines, which moves by itself where it is wider than the page."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(rows)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>'


def write_page(page: str, target: Path) -> None:
    """Write a page, or the picture of one; a reader never sees half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(target)
