"""`tidegate report`: what a deployment went through, as one page or as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tidegate.cli.target import choice_of, in_cluster, target_options, the_run
from tidegate.errors import Failed, UsageError


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
    page needs no network. Without NAME: the only deployment that runs here. Of a local run only: a cluster
    does not keep the course of a rollout.

    \b
    Example: tidegate report fraud -o report.html
    """
    from tidegate.report import report_data, write_report

    if output is None and data is None:
        raise UsageError("nothing to write", do="add -o FILE.html, or --data FILE.json")
    choice = choice_of(given)
    if in_cluster(choice, name):
        do = "see `tidegate history` and `tidegate status` for what it keeps, and Prometheus for the course"
        raise Failed("a cluster does not keep the course of a rollout", do=do, reason="NothingToReport")
    folder = the_run(choice, name).kept.folder
    if output is not None:
        write_report([folder], output)
        click.echo(f"wrote {output}")
    if data is not None:
        _write_data(json.dumps(report_data([folder]), indent=1), data)


def _write_data(text: str, target: Path) -> None:
    if str(target) == "-":
        click.echo(text)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n", encoding="utf-8")
    click.echo(f"wrote {target}")
