"""explain: what in an input a model's answers come from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.authoring import OUTPUT
from tidegate.cli.data_options import data_of, data_options
from tidegate.cli.output import emit, print_table, quiet_option
from tidegate.cli.progress import progress_line
from tidegate.errors import UsageError

if TYPE_CHECKING:
    from tidegate.attribution.players import PictureForm
    from tidegate.author.explain.explaining import Explanation

SHOWN = 10


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("ref")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The new folder for the results.")
@data_options
@click.option("--rows", type=click.IntRange(1), default=20, show_default=True, help="Explain the first so many rows.")
@click.option(
    "--method",
    type=click.Choice(["shapley", "occlusion", "shap"]),
    default="shapley",
    show_default=True,
    help="Fair shares, what is lost without each part, or the package shap.",
)
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True, help="Pairs of orders for shapley.")
@click.option("--explain-output", "outputs", multiple=True, metavar="NAME", help="Only this output; default: all.")
@click.option(
    "--baseline",
    type=click.Choice(["mean", "zero"]),
    default="mean",
    show_default=True,
    help="What stands for a part that is taken away: its mean in --data, or zero.",
)
@click.option("--picture", default="", metavar="HxW", help="Flat rows are pictures of this height and width.")
@click.option("--patch", type=click.IntRange(0), default=0, help="Pixels per side of a part of a picture; 0: chosen.")
@click.option(
    "--seed", type=click.IntRange(0), default=20_240_229, show_default=True, help="Of the orders that are drawn."
)
@OUTPUT
@quiet_option
def explain(output: str, quiet: bool, ref: str, **options: Any) -> None:
    """Show what in the inputs of the model at REF its answers come from.

    Writes attributions.npz, for each output and input a tensor, and explanation.html into a new folder. With --quiet:
    the path of the page.

    \b
    Example: tidegate explain bundle --data test.csv --labels y -o explained
    """
    from tidegate.author.extras import need

    for module in ("numpy", "onnx", "onnxruntime"):
        need(module, extra="runtime")
    from tidegate.author.explain.explaining import ExplainRequest
    from tidegate.author.explain.explaining import explain as explained

    data = data_of(options)
    if data is None:
        raise UsageError("there are no rows to explain", where="--data", do="give them: --data FILE")
    plain = {name: options[name] for name in ("out", "method", "rows", "rounds", "outputs", "baseline", "seed")}
    request = ExplainRequest(data=data, picture=_picture(options["picture"], options["patch"]), **plain)
    with progress_line("explain", unit="rows") as progress:
        found = explained(ref, request, progress)
    if quiet:
        click.echo(_page(found))
        return
    emit(_document(found), output=output, table=lambda: _print(found))


def _picture(size: str, patch: int) -> PictureForm:
    from tidegate.attribution.players import PictureForm

    try:
        return PictureForm.read(size, patch)
    except ValueError as error:
        raise UsageError(str(error), where="--picture", do="write, for example, 28x28") from None


def _page(found: Explanation) -> Path:
    from tidegate.author.explain.explaining import PAGE

    return found.request.out / PAGE


def _largest(found: Explanation) -> list[tuple[str, float]]:
    names = [name for players in found.players for name in players.names]
    pairs = zip(names, found.importance().tolist(), strict=True)
    return sorted(pairs, key=lambda pair: -pair[1])[:SHOWN]


def _document(found: Explanation) -> dict[str, Any]:
    from tidegate.author.explain.explaining import ARRAYS

    return {
        "digest": found.bundle.digest,
        "method": found.request.method,
        "rows": len(found.each),
        "outputs": [spec.name for spec in found.outputs],
        "attributions": str(found.request.out / ARRAYS),
        "page": str(_page(found)),
        "unexplained": found.unexplained,
        "largest": [{"part": name, "meanSize": size} for name, size in _largest(found)],
    }


def _print(found: Explanation) -> None:
    print_table(["part", "mean size"], [(name, f"{size:.4g}") for name, size in _largest(found)])
    click.echo(
        f"{len(found.each)} rows by {found.request.method}; parts add up to the answers within {found.unexplained:.2g}"
    )
    click.echo(f"page   {_page(found)}")
