"""What `tidegate optimize` shows: a table for people, data for scripts, a page with the plot."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import click

from tidegate.author.optimize.comparison import Comparison
from tidegate.author.optimize.plot import STYLE, plot
from tidegate.cli.output import print_table
from tidegate.page import footer, framed, row, table

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
    columns, rows = found.table()
    said = "".join(f"<li>{escape(line)}</li>" for line in conclusions(found))
    body = f"""<h1>{escape(title)}</h1>
<figure>{plot(found, title)}</figure>
<ul class="facts">{said}</ul>
{table(columns, map(row, rows))}
{footer("tidegate optimize")}"""
    return framed(title, "optimize", body, drawn=STYLE)
