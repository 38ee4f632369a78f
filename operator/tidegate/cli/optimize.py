"""`tidegate optimize`: a smaller or faster variant of a bundle, proved against its parent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.authoring import OUTPUT
from tidegate.cli.bench import telling
from tidegate.cli.data_options import data_of, data_options
from tidegate.cli.output import emit, quiet_option
from tidegate.errors import UsageError

if TYPE_CHECKING:
    from tidegate.author.optimize import OptimizeRequest
    from tidegate.author.optimize.comparison import Comparison
    from tidegate.author.packing import Packed
    from tidegate.author.request import DataSet

PLOTS = (".svg", ".html")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("ref")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The new bundle directory.")
@click.option("--version", required=True, help="The variant's version.")
@click.option("--name", default="", help="What the variant is called; default: as its parent.")
@data_options
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Rows to learn from, no labels needed; else a fifth of --data.",
)
@click.option("--graph", is_flag=True, help="Fold constants and join nodes; answers stay the same.")
@click.option("--fp16", is_flag=True, help="16-bit floats inside: half the size, faster on a GPU only.")
@click.option(
    "--int8",
    type=click.Choice(["dynamic", "static", "mixed"]),
    help="8 bits: weights of dense layers; weights and activations; the same but for layers that it costs accuracy.",
)
@click.option("--prune", default=0.0, type=click.FloatRange(0, 0.95), help="Take out this share of the channels.")
@click.option("--distill", "student", default="", help="Teach a student: module:function or script.py:function.")
@click.option(
    "--max-accuracy-drop", "max_drop", default=0.01, show_default=True, type=click.FloatRange(0, 1),
    help="How much accuracy (of regressors: R²) may be lost.",
)  # fmt: skip
@click.option(
    "--seconds", default=1.0, show_default=True, type=click.FloatRange(0, 600), help="To time each model for."
)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="While latency is measured.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw it here: FILE.svg or FILE.html.")
@click.option("--description", default="", help="One sentence about it; default: the parent's.")
@click.option("--created-at", default="", help="RFC 3339 time to record; default: of SOURCE_DATE_EPOCH, or none.")
@OUTPUT
@quiet_option
def optimize(ref: str, output: str, quiet: bool, plot: Path | None, **options: Any) -> None:
    """Make a smaller or faster variant of a bundle, and prove it against its parent.

    REF is a directory or any bundle address. What is asked for is done in this order: --distill, --prune, --graph,
    then --fp16 or --int8. Size, accuracy and latency of every step are printed beside the parent's; nothing is written
    when more accuracy is lost than --max-accuracy-drop. With --quiet: the digest.

    \b
    Example: tidegate optimize digits -o small --version 1.0.0-int8 --data test.npz --labels y --int8 static
    """
    if plot is not None and plot.suffix not in PLOTS:
        raise UsageError("neither .svg nor .html", where=f"--plot {plot}", do="name a file of these kinds")
    from tidegate.author.optimize import optimize as make
    from tidegate.author.optimize.optimizing import AccuracyLost

    request = _request(options)
    try:
        with telling() as tell:
            packed, found = make(ref, request, tell)
    except AccuracyLost as lost:
        _show(None, lost.comparison, output, quiet=quiet)
        _draw(lost.comparison, ref, plot)
        raise
    for warning in packed.warnings:
        click.echo(f"warning: {warning}", err=True)
    _show(packed, found, output, quiet=quiet)
    _draw(found, ref, plot)


def _request(options: dict[str, Any]) -> OptimizeRequest:
    from tidegate.author.optimize import OptimizeRequest

    if options["fp16"] and options["int8"]:
        raise UsageError("a model has 16 bits or 8", where="--fp16 --int8", do="ask for one of them")
    data = data_of(options)
    if data is None:
        raise UsageError(
            "there are no rows to judge it by", where="--data", do="give labelled rows: --data FILE --labels NAME"
        )
    return OptimizeRequest(
        out=options["out"],
        version=options["version"],
        name=options["name"],
        data=data,
        calibration=_calibration(options),
        description=options["description"],
        student=options["student"],
        prune=options["prune"],
        graph=options["graph"],
        precision="fp16" if options["fp16"] else f"int8-{options['int8']}" if options["int8"] else "",  # type: ignore[arg-type]
        max_drop=options["max_drop"],
        threads=options["threads"],
        seconds=options["seconds"],
        created_at=options["created_at"],
    )


def _calibration(options: dict[str, Any]) -> DataSet | None:
    if options["calibration"] is None:
        return None
    from tidegate.author.optimize.request import to_learn_from

    data = data_of({**options, "data": options["calibration"], "labels": ""})
    assert data is not None
    return to_learn_from(data, options["labels"])


def _show(packed: Packed | None, found: Comparison, output: str, *, quiet: bool) -> None:
    from tidegate.cli.optimize_view import document, print_comparison

    if not quiet:
        emit(document(packed, found), output=output, table=lambda: print_comparison(packed, found))
    elif packed is not None:
        click.echo(packed.bundle.digest)


def _draw(found: Comparison, ref: str, plot: Path | None) -> None:
    if plot is None:
        return
    from tidegate.author.optimize.plot import plot as drawn
    from tidegate.cli.optimize_view import page
    from tidegate.page import write_page

    title = f"{ref} and what was made of it"
    write_page(page(found, title) if plot.suffix == ".html" else drawn(found, title), plot)
