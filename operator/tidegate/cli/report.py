"""`tidegate report`: what a deployment went through, as one page or as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.target import Choice, choice_of, in_cluster, one_there, target_options, the_run
from tidegate.errors import UsageError

if TYPE_CHECKING:
    from tidegate.report import Source


@click.command()
@click.argument("name", required=False)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the page here (an HTML file)."
)
@click.option("--data", type=click.Path(path_type=Path, dir_okay=False), help="Write the same as JSON here; - prints.")
@target_options
def report(name: str | None, output: Path | None, data: Path | None, **given: Any) -> None:
    """Write one deployment's rollouts as a page with plots.

    Weights, requests, errors, latency and divergence of its versions over time, with each verdict and its reason. The
    page needs no network. Without NAME: the only deployment there is. In a cluster the operator keeps the last
    rollouts, in the ConfigMap NAME-course.

    \b
    Example: tidegate report fraud -o report.html
    """
    from tidegate.report import report_data, write_report

    if output is None and data is None:
        raise UsageError("nothing to write", do="add -o FILE.html, or --data FILE.json")
    source = source_of(choice_of(given), name)
    if output is not None:
        write_report([source], output)
        click.echo(f"wrote {output}")
    if data is not None:
        _write_data(json.dumps(report_data([source]), indent=1), data)


def source_of(choice: Choice, name: str | None) -> Source:
    """Where the course of the deployment that is meant is written."""
    if in_cluster(choice, name):
        from tidegate.report import Kept

        there, meant = one_there(choice, name)
        found = there.deployment(meant)
        do = "let it roll out a version; see whether an operator runs, and what its log says"
        return Kept(meant, there.course(meant), found.get("spec") or {}, found.get("status") or {}, str(there), do)
    return the_run(choice, name).kept.folder


def _write_data(text: str, target: Path) -> None:
    if str(target) == "-":
        click.echo(text)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n", encoding="utf-8")
    click.echo(f"wrote {target}")
