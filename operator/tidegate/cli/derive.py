"""derive: a bundle made of another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.authoring import OUTPUT, announce
from tidegate.cli.bundle_options import bundle_options, request_of
from tidegate.cli.data_options import data_of
from tidegate.cli.output import quiet_option
from tidegate.cli.progress import step_line
from tidegate.errors import UsageError

if TYPE_CHECKING:
    from tidegate.author.derive.acts import Act
    from tidegate.author.request import DataSet

# What is done, by the options that say it: those of one line belong together, two lines at once make no sense.
WAYS = (("outputs", "inputs"), ("weights",), ("compose",), ("join",), ("head",), ("before", "after"))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("ref")
@click.option("--version", required=True, help="This version of it.")
@click.option("--name", default="", help="What the model is called; default: as its parent.")
@click.option("--outputs", multiple=True, metavar="TENSOR", help="Extract what computes this; several times for more.")
@click.option("--inputs", multiple=True, metavar="TENSOR", help="Extract from here on; default: from the inputs.")
@click.option("--weights", type=click.Path(path_type=Path), help="New weights in the same graph: .npz or .safetensors.")
@click.option("--compose", nargs=2, metavar="TENSOR REF:TENSOR", help="REF behind its tensor, fed by this one.")
@click.option("--join", metavar="REF", default="", help="Put this bundle behind --features: a new head.")
@click.option("--head", type=click.Choice(["logistic", "ridge", "mlp"]), help="Train a head on --data and --labels.")
@click.option("--features", default="", metavar="TENSOR", help="What a head is fed with; default: the only output.")
@click.option("--before", default="", metavar="SOURCE", help="Pre-processing into the graph: anything pack takes.")
@click.option("--after", default="", metavar="SOURCE", help="Post-processing into the graph: anything pack takes.")
@bundle_options(samples="8; fewer where they weigh much", license_="its parent's")
@click.option("--test", type=click.Path(path_type=Path), help="Rows to measure a head on; default: a fifth of --data.")
@click.option("--trust-pickle", is_flag=True, help="Read a pickled --before or --after, which may run any code.")
@OUTPUT
@quiet_option
def derive(output: str, quiet: bool, ref: str, **options: Any) -> None:
    """Make a bundle of the one at REF: a part of it, other weights in it, a head on it, another model behind it.

    Large weights that stay the same are the same files, so a store that has the parent is sent only what is new.
    With --quiet: the digest.

    \b
    Example: tidegate derive s3://models/backbone/1.0.0 -o digits --version 1.0.0 --features features \\
             --head logistic --data digits.npz --labels y
    """
    from tidegate.author.extras import need

    way = _way(options)
    for module in ("numpy", "onnx", "onnxruntime"):
        need(module, extra="runtime")
    from tidegate.author.derive.deriving import derive as make

    if options["trust_pickle"]:
        click.echo("warning: reading a pickle runs whatever code its writer put into it", err=True)
    with step_line() as told:
        request = replace(request_of(options), told=told)
        made = make(ref, _act(way, ref, options), request, light=options["golden_count"] is None)
    announce(made, output=output, quiet=quiet)


def _way(options: dict[str, Any]) -> str:
    """The first option of the one way that was chosen."""
    chosen = [way for way in WAYS if any(options[option] for option in way)]
    if len(chosen) != 1:
        every = ", ".join(f"--{option}" for way in WAYS for option in way)
        raise UsageError(
            "nothing is to be done" if not chosen else f"{' and '.join(f'--{way[0]}' for way in chosen)} at once",
            where="tidegate derive",
            do=f"say one of {every}; derive again from the result for a second step",
        )
    if options["features"] and chosen[0][0] not in ("join", "head"):
        raise UsageError("features for what?", where="--features", do="say --head or --join")
    if options["test"] and chosen[0] != ("head",):
        raise UsageError("rows for what?", where="--test", do="say --head; others are measured on --data")
    return chosen[0][0]


def _act(way: str, ref: str, options: dict[str, Any]) -> Act:
    from tidegate.author.derive.composing import NEW_HEAD, Compose, compose_of
    from tidegate.author.derive.extracting import Extract
    from tidegate.author.derive.heads import TrainHead
    from tidegate.author.derive.new_weights import NewWeights
    from tidegate.author.derive.processing import Process

    acts: dict[str, Callable[[], Act]] = {
        "outputs": lambda: Extract(options["outputs"], options["inputs"]),
        "weights": lambda: NewWeights(options["weights"]),
        "compose": lambda: compose_of(ref, *options["compose"]),
        "join": lambda: Compose(options["features"], options["join"], action=NEW_HEAD),
        "head": lambda: TrainHead(options["head"], options["features"], _test(options)),
        "before": lambda: Process(options["before"], options["after"], options["trust_pickle"]),
    }
    return acts[way]()


def _test(options: dict[str, Any]) -> DataSet | None:
    if not options["test"]:
        return None
    given, labels = {**options, "data": options["test"]}, options["labels"]
    if not options["test"].is_dir() and Path(labels).is_file():
        found = data_of({**given, "labels": ""})
        if found is None or labels not in found.columns:
            raise UsageError(
                f"the file {labels} says what is right for the rows of --data, not for those of --test",
                where="--labels",
                do="have a column of one name in both files, and name it",
            )
    return data_of(given)
