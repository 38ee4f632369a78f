"""How commands speak: tables on a terminal, plain text in a pipe, JSON or YAML when asked, errors in one sentence.

JSON is `{"apiVersion": "tidegate.io/cli/v1", …}`; an error is `{"error": {"reason", "what", "where", "do"}}` on stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from tidegate.errors import TidegateError

API_VERSION = "tidegate.io/cli/v1"

F = TypeVar("F", bound=Callable[..., Any])


def output_option(command: F) -> F:
    """Add `-o/--output table|json|yaml` to a command; the choice is also what shapes its errors."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="How to print the result.",
    )(command)


def folder_output_option(command: F) -> F:
    """The same without `-o`, for a command whose -o is the folder it writes."""
    return click.option(
        "--output",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="How to print the result (-o is the folder here).",
    )(command)


def quiet_option(command: F) -> F:
    """Add `-q/--quiet`: print only the one value that a script wants."""
    return click.option("-q", "--quiet", is_flag=True, help="Print only the value that a script wants.")(command)


def emit(document: Mapping[str, Any], *, output: str, table: Callable[[], None]) -> None:
    """Print `document` as JSON or YAML, or call `table` to print it for a person."""
    full = {"apiVersion": API_VERSION, **document}
    if output == "json":
        click.echo(json.dumps(full, indent=2))
    elif output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(full, sort_keys=False), nl=False)
    else:
        table()


def draws() -> bool:
    """Whether standard output is a terminal that can show lines and colours."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and encoding == "utf8"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """A rich table on a terminal, aligned plain text in a pipe."""
    if not draws():
        print_plain(columns, rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))  # Text: a [ in it is no markup
    Console().print(table)


def printable(text: object) -> str:
    """A line without control characters: a bundle's version or a pod's last words may come from anybody."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def print_plain(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns under headings in capitals, with nothing that a pipe would have to understand."""
    for row in aligned(columns, [[printable(cell) for cell in row] for row in rows]):
        click.echo("  ".join(row).rstrip())


def print_tree(columns: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]], styles: Mapping[str, str]) -> None:
    """Rows with their depth: guides and colours (by the cell's first word) on a terminal, indented in a pipe.

    Without rich, whose import is half of what a command that only looks may take.
    """
    if not draws():
        print_plain(columns, [["  " * depth + cells[0], *cells[1:]] for depth, cells in rows])
        return
    guided = zip(guides([depth for depth, _ in rows]), rows, strict=True)
    cells = [[guide + printable(row[0]), *map(printable, row[1:])] for guide, (_, row) in guided]
    heads, *lines = aligned(columns, cells)
    colours = {} if os.environ.get("NO_COLOR") else styles
    click.echo("  ".join(heads).rstrip())
    for line in lines:
        click.echo("  ".join(painted(cell, colours) for cell in line).rstrip())


def painted(cell: str, colours: Mapping[str, str]) -> str:
    """A cell in the colour of its first word."""
    colour = colours.get(cell.partition(" ")[0])
    return click.style(cell, fg=colour) if colour else cell


def aligned(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[list[str]]:
    """The headings and the rows, all cells of a column equally wide."""
    widths = [max([len(column), *(len(row[i]) for row in cells)]) for i, column in enumerate(columns)]
    table = [[column.upper() for column in columns], *cells]
    return [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in table]


def guides(depths: Sequence[int]) -> list[str]:
    """The lines that lead to each row of a tree, as `tree` draws them."""
    found = []
    for i, depth in enumerate(depths):
        goes_on = [_goes_on(depths[i + 1 :], level) for level in range(1, depth + 1)]
        stems = "".join("│  " if more else "   " for more in goes_on[:-1])
        found.append(stems + ("├─ " if goes_on[-1] else "└─ ") if depth else "")
    return found


def _goes_on(below: Sequence[int], level: int) -> bool:
    """Whether another row of this level comes before one that is above it."""
    return next((depth == level for depth in below if depth <= level), False)


def wants_json() -> bool:
    """Whether this command line asked for JSON, so that its errors are JSON too."""
    argv = sys.argv
    return (
        "--output=json" in argv
        or "-ojson" in argv
        or any(argv[i] in ("-o", "--output") and argv[i + 1] == "json" for i in range(len(argv) - 1))
    )


def fail(error: TidegateError) -> int:
    """Print the error on stderr and give the exit code that belongs to it."""
    if wants_json():
        body = {"reason": error.reason, "what": error.what, "where": error.where, "do": error.do}
        click.echo(json.dumps({"error": body}), err=True)
    else:
        click.echo("\n".join(map(printable, f"error: {error}".split("\n"))), err=True)
    return error.exit_code
