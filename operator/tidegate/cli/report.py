"""`tidegate report`: what a deployment went through, as one page or as data."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tidegate.errors import UsageError


@click.command()
@click.argument("name", required=False)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the page here (an HTML file)."
)
@click.option("--data", type=click.Path(path_type=Path, dir_okay=False), help="Write the same as JSON here; - prints.")
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="The run with this state.")
@click.option("--local", is_flag=True, expose_value=False, help="A run on this machine; the only kind so far.")
def report(name: str | None, output: Path | None, data: Path | None, state: Path | None) -> None:
    """Write one deployment's rollouts as a page with plots.

    Weights, requests, errors, latency and divergence of its versions over time, with each verdict and its reason. The
    page needs no network. Without NAME: the only deployment that runs here.

    \b
    Example: tidegate report fraud -o report.html
    """
    from tidegate.local.commands import one_target
    from tidegate.report import report_data, write_report

    if output is None and data is None:
        raise UsageError("nothing to write", do="add -o FILE.html, or --data FILE.json")
    folder = one_target(state, name).kept.folder
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
