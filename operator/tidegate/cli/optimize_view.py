"""What `tidegate optimize` shows: a table for people, data for scripts, a page with the plot."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import click

from tidegate.author.optimize.comparison import Comparison
from tidegate.author.optimize.plot import plot
from tidegate.cli.output import print_table

if TYPE_CHECKING:
    from tidegate.author.packing import Packed


def document(packed: Packed | None, found: Comparison) -> dict[str, Any]:
    """`digest` and `path` are missing where no bundle was made."""
    made = {"digest": packed.bundle.digest, "path": str(packed.bundle.path)} if packed else {}
    return {**made, **found.document()}


def print_comparison(packed: Packed | None, found: Comparison) -> None:
    """The table, what is to be known about it, and the bundle."""
    columns, rows = found.table()
    print_table(columns, rows)
    for line in conclusions(found):
        click.echo(line)
    if packed:
        manifest = packed.bundle.manifest
        click.echo(f"{manifest.name} {manifest.version} in {packed.bundle.path}")
        click.echo(f"digest   {packed.bundle.digest}")


def conclusions(found: Comparison) -> list[str]:
    """What the table does not say by itself."""
    lines = [f"judged   {found.rows} rows of {found.data}"]
    if found.allowed and not found.certain:
        most = found.variants[-1].drop.high
        lines.append(f"note     these rows cannot exclude a loss of up to {most:.4f}: more rows tell more")
    lines += [f"note     {note}" for note in found.notes]
    return lines + [f"{variant.name}: {note}" for variant in found.variants for note in variant.notes]


def page(found: Comparison, title: str) -> str:
    """One HTML file with the plot and the figures; it fetches nothing."""
    style = files("tidegate.report").joinpath("page.css").read_text(encoding="utf-8")
    columns, cells = found.table()
    heads = "".join(f"<th>{escape(name)}</th>" for name in columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells)
    said = "".join(f"<li>{escape(line)}</li>" for line in conclusions(found))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)} · Tidegate optimize</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<figure>{plot(found, title)}</figure>
<ul>{said}</ul>
<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>
</main>
</body>
</html>
"""
