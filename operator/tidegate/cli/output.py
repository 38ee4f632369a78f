"""How commands speak: tables on a terminal, plain text in a pipe, JSON or YAML when asked, errors in one sentence.

JSON is `{"apiVersion": "tidegate.io/cli/v1", …}`; an error is `{"error": {"reason", "what", "where", "do"}}` on stderr.
"""

from __future__ import annotations

import json
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


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """A rich table on a terminal, aligned plain text in a pipe."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        Console().print(table)
        return
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max([len(column), *(len(row[i]) for row in cells)]) for i, column in enumerate(columns)]
    for row in [[column.upper() for column in columns], *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


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
        click.echo(f"error: {error}", err=True)
    return error.exit_code
