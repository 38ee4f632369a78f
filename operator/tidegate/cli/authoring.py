"""pack, inspect, diff, check: making bundles and looking at them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.bundle_options import bundle_options, request_of
from tidegate.cli.bundles import identity_option
from tidegate.cli.output import emit, folder_output_option, output_option, quiet_option
from tidegate.cli.progress import step_line
from tidegate.errors import UsageError

if TYPE_CHECKING:
    from tidegate.author.packing import Packed
    from tidegate.author.request import PackRequest

OUTPUT = folder_output_option


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source")
@click.option("--name", required=True, help="What the model is called.")
@click.option("--version", required=True, help="This version of it; never ordered, identity is the digest.")
@bundle_options(samples="8", license_="none")
@click.option("--dim", "dims", multiple=True, metavar="NAME=SIZE", help="Size of a dynamic dimension while proving.")
@click.option(
    "--interface",
    multiple=True,
    metavar="NAME=DIM,…",
    help="Dimensions of an input: sizes, and names of dynamic ones, such as tokens=batch,seq.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Weights for the model that SOURCE builds: a PyTorch state_dict, or safetensors.",
)
@click.option("--metrics", type=click.Path(path_type=Path), help="Metrics computed elsewhere: JSON of numbers.")
@click.option("--metric", "metric", multiple=True, metavar="NAME=VALUE", help="One metric computed elsewhere.")
@click.option("--card", type=click.Path(path_type=Path), help="README.md by you; else it is made of the facts.")
@click.option("--sbom", is_flag=True, help="Add sbom.cdx.json: the packages that made it, as CycloneDX.")
@click.option(
    "--parent", default="", metavar="REF", help="The bundle that SOURCE was fine-tuned from: kept as lineage."
)
@click.option("--isolated", is_flag=True, help="Install what SOURCE needs into an environment just for this command.")
@click.option("--with", "with_", multiple=True, metavar="PACKAGE", help="A further package for --isolated.")
@click.option("--trust-pickle", is_flag=True, help="Read a pickle, joblib or .pt2 file, which may run any code.")
@click.option("--trust-lambda", is_flag=True, help="Read a Keras file with Lambda layers, which may run any code.")
@OUTPUT
@quiet_option
def pack(output: str, quiet: bool, source: str, **options: Any) -> None:
    """Turn a trained model into a bundle and prove it.

    SOURCE is a model file or folder of any framework, told by its content, or a function that returns a model:
    module:function or script.py:function. docs/frameworks.md has the list.

    \b
    Example: tidegate pack train.py:model -o bundle --name digits --version 1.0.0 --data test.npz --labels y
    """
    if options["isolated"]:
        raise SystemExit(_pack_isolated(source, options["with_"]))
    if options["with_"]:
        raise UsageError("there is no environment to install it in", where="--with", do="add --isolated")
    from tidegate.author import pack as make

    if options["trust_pickle"]:
        click.echo("warning: reading a pickle runs whatever code its writer put into it", err=True)
    if options["trust_lambda"]:
        click.echo("warning: reading a Lambda layer runs whatever code its writer put into it", err=True)
    with step_line() as told:
        packed = make(source, replace(_request(options), told=told))
    announce(packed, output=output, quiet=quiet)


def announce(packed: Packed, *, output: str, quiet: bool) -> None:
    """Tell of a new bundle: warnings and notes on stderr, then its digest alone or all that was made and proved."""
    for warning in packed.warnings:
        click.echo(f"warning: {warning}", err=True)
    for note in packed.notes:
        click.echo(f"note: {note}", err=True)
    if quiet:
        click.echo(packed.bundle.digest)
        return
    emit(_packed(packed), output=output, table=lambda: _print_packed(packed))


def _pack_isolated(source: str, further: tuple[str, ...]) -> int:
    """The same command line, run where the framework is."""
    from tidegate.author.extras import need

    need("onnx", extra="runtime")
    from tidegate.author.isolated import run_isolated
    from tidegate.author.needs import extra_of

    return run_isolated(extra_of(source), list(_without_isolation(sys.argv[1:])), further)


def _without_isolation(words: list[str]) -> Iterator[str]:
    """The command line without --isolated and --with."""
    skipped = False
    for word in words:
        if not (skipped or word in ("--isolated", "--with") or word.startswith("--with=")):
            yield word
        skipped = word == "--with"


def _request(options: dict[str, Any]) -> PackRequest:
    dims, interface = dict(map(_dim, options["dims"])), dict(map(_dimensions, options["interface"]))
    asked = request_of(options)
    plain = {name: options[name] for name in ("card", "sbom", "weights", "parent", "trust_pickle", "trust_lambda")}
    return replace(
        asked,
        golden=replace(asked.golden, dims=dims),
        interface=interface,
        metrics=_metrics(options["metrics"], options["metric"]),
        **plain,
    )


def _dim(text: str) -> tuple[str, int]:
    name, _, size = text.partition("=")
    if not name or not size.isdigit() or int(size) < 1:
        raise UsageError(f"'{text}' is not NAME=SIZE", where="--dim", do="write, for example, sequence=16")
    return name, int(size)


def _dimensions(text: str) -> tuple[str, tuple[int | str, ...]]:
    name, _, sizes = text.rpartition("=")
    dims = tuple(int(size) if size.isdigit() else size for size in sizes.split(","))
    if not name or not all(dims):
        raise UsageError(f"'{text}' is not NAME=DIM,…", where="--interface", do="write, for example, tokens=batch,seq")
    return name, dims


def _metrics(path: Path | None, single: tuple[str, ...]) -> dict[str, float]:
    if path is None and not single:
        return {}
    from tidegate.author.given_metrics import metric_of, read_metrics

    return {**(read_metrics(path) if path else {}), **dict(map(metric_of, single))}


def _packed(packed: Packed) -> dict[str, Any]:
    manifest = packed.bundle.manifest
    return {
        "digest": packed.bundle.digest,
        "path": str(packed.bundle.path),
        "name": manifest.name,
        "version": manifest.version,
        "bytes": manifest.total_bytes,
        "files": len(manifest.files),
        "metrics": manifest.metric_values(),
        "parity": dict(manifest.parity),
        "warnings": list(packed.warnings),
        "notes": list(packed.notes),
    }


def _print_packed(packed: Packed) -> None:
    manifest = packed.bundle.manifest
    click.echo(f"{manifest.name} {manifest.version} in {packed.bundle.path}")
    click.echo(f"digest   {packed.bundle.digest}")
    click.echo(f"size     {manifest.total_bytes:,} bytes in {len(manifest.files)} files")
    for metric in manifest.metrics:
        basis = f"  ({metric.samples} rows of {metric.dataset})" if metric.samples else ""
        click.echo(f"{metric.name:<8} {metric.value:.4f}{basis}")
    if original := manifest.parity.get("original"):
        rows, wrong = original["rows"], original["mismatchedRows"]
        click.echo(f"parity   {rows} rows against {original['against']}: {wrong} differ")
    if damage := manifest.parity.get("goldenDamage"):
        noticed, tried = damage["noticed"], damage["tried"]
        count = len(manifest.golden.files) if manifest.golden else 0
        click.echo(f"golden   {count} samples notice {noticed} of {tried} damages tried")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("ref")
@click.option("--card", is_flag=True, help="Print the model card, README.md of the bundle.")
@click.option("--tensors", is_flag=True, help="List every tensor of the graph instead: what `derive` can name.")
@output_option
@quiet_option
def inspect(ref: str, *, card: bool, tensors: bool, output: str, quiet: bool) -> None:
    """Show what a bundle is: REF is a directory or any bundle address. With --quiet: its digest.

    \b
    Example: tidegate inspect s3://models/digits/1.0.0
    """
    from tidegate.author.opened import opened
    from tidegate.cli.bundle_view import inspect_document, print_card, print_inspection

    with opened(ref) as found:
        resolved, text = found.resolved, found.card() if card or output != "table" else ""
    if quiet:
        click.echo(resolved.digest)
    elif tensors:
        _list_tensors(ref, output)
    elif card and output == "table":
        print_card(text, ref)
    else:
        document = {**inspect_document(resolved), "card": text}
        emit(document, output=output, table=lambda: print_inspection(resolved))


def _list_tensors(ref: str, output: str) -> None:
    from tidegate.author.extras import need

    need("onnx", extra="runtime")
    from tidegate.author.listing import listed_tensors
    from tidegate.author.opened import opened
    from tidegate.cli.bundle_view import print_tensors, tensors_document

    with opened(ref) as bundle:
        listed = list(listed_tensors(bundle.graph()))
    emit(tensors_document(listed), output=output, table=lambda: print_tensors(listed))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("before")
@click.argument("after")
@output_option
@quiet_option
def diff(before: str, after: str, output: str, quiet: bool) -> None:
    """Show what changes from the bundle BEFORE to the bundle AFTER, and whether a rollout would take it.

    With --quiet: `accepted` or `refused`.

    \b
    Example: tidegate diff s3://models/digits/1.0.0 s3://models/digits/1.1.0
    """
    from tidegate.author.extras import need

    need("onnx", extra="runtime")
    from tidegate.author.difference import difference
    from tidegate.author.opened import opened
    from tidegate.cli.bundle_view import diff_document, print_difference

    with opened(before) as old, opened(after) as new:
        found = difference(old, new)
    if quiet:
        click.echo("accepted" if found.accepted else "refused")
        return
    emit(diff_document(found), output=output, table=lambda: print_difference(found))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("ref")
@click.option("--device", type=click.Choice(["cpu", "cuda", "tensorrt"]), default="cpu", show_default=True)
@identity_option
@output_option
@quiet_option
def check(ref: str, device: str, identity: Path | None, output: str, quiet: bool) -> None:
    """Run the golden samples as a pod would, in the server itself. With --quiet: the worst error of all outputs.

    An encrypted bundle is decrypted into memory, for as long as this takes.

    \b
    Example: tidegate check bundle --device cpu
    """
    from tidegate.author.checking import here, run_check
    from tidegate.cli.bundle_view import print_check

    with here(ref, identity) as folder:
        document = run_check(folder, device)
    if quiet:
        click.echo(max((row["worst"] for row in document["outputs"]), default=0.0))
        return
    emit(document, output=output, table=lambda: print_check(document))
