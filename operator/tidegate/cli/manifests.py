"""`tidegate lint` and `tidegate crd`: manifests and their schema, without a cluster."""

from __future__ import annotations

from dataclasses import asdict

import click

from tidegate.api.load import Checked, Problem, check
from tidegate.cli.output import emit, output_option, quiet_option


@click.command(no_args_is_help=False)
@click.option(
    "-f",
    "--filename",
    "paths",
    multiple=True,
    metavar="FILE",
    help="A manifest, a folder of them, or - for standard input; -f may be left out.",
)
@click.argument("more", nargs=-1, metavar="[FILE]...")
@output_option
@quiet_option
def lint(paths: tuple[str, ...], more: tuple[str, ...], output: str, quiet: bool) -> int:
    """Check manifests against the schema and its rules, offline.

    Lists every problem with its file and line.  Documents of other kinds are passed over.
    Ends with 1 when there is a problem.

    \b
    Example: tidegate lint -f deploy/
    """
    if not (paths or more):
        raise click.UsageError("name a manifest, a folder of them, or - for standard input")
    checked = check([*paths, *more])
    emit(as_document(checked), output=output, table=lambda: print_findings(checked, quiet))
    return 1 if checked.problems else 0


def as_document(checked: Checked) -> dict[str, object]:
    return {
        "manifests": len(checked.deployments),
        "problems": [asdict(problem) for problem in checked.problems],
        "passedOver": [{"file": p.file, "line": p.line, "kind": p.message} for p in checked.passed_over],
    }


def print_findings(checked: Checked, quiet: bool) -> None:
    for problem in checked.problems:
        click.echo(str(problem))
    if quiet:
        return
    for other in checked.passed_over:
        click.echo(f"{other.file}:{other.line}: passed over: {other.message}", err=True)
    click.echo(summary(len(checked.deployments), checked.problems), err=True)


def summary(good: int, problems: list[Problem]) -> str:
    fine = f"{good} manifest{'' if good == 1 else 's'} in order"
    return f"{fine}, {len(problems)} problem{'' if len(problems) == 1 else 's'}" if problems else fine


@click.command()
def crd() -> None:
    """Print the CustomResourceDefinition.

    \b
    Example: tidegate crd | kubectl apply --server-side -f -
    """
    from tidegate.api.crd import crd_text

    click.echo(crd_text(), nl=False)
