"""export: a bundle's model in another form, for where no server of ours runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate.cli.bundles import identity_option
from tidegate.cli.output import emit, folder_output_option, print_table, quiet_option
from tidegate.errors import UsageError

if TYPE_CHECKING:
    from tidegate.author.export import Exported


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("ref")
@click.option("--ort", is_flag=True, help="ONNX Runtime's format for mobile and embedded builds.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The new folder.")
@identity_option
@folder_output_option
@quiet_option
def export(ref: str, *, ort: bool, out: Path, identity: Path | None, output: str, quiet: bool) -> None:
    """Write a bundle's model for another kind of machine, and prove it by the bundle's golden samples.

    --ort: model.ort, and the list of operators and types that ONNX Runtime is built with for it.
    With --quiet: the sha256 of model.ort.

    \b
    Example: tidegate export s3://models/digits/1.0.0 --ort -o digits-mobile
    """
    if not ort:
        raise UsageError("no form is named", where="tidegate export", do="say --ort")
    from tidegate.author.checking import here
    from tidegate.author.extras import need

    need("onnxruntime", extra="runtime")
    from tidegate.author.export import export_ort

    with here(ref, identity) as folder:
        exported = export_ort(folder, out)
    if quiet:
        click.echo(exported.sha256)
        return
    document = {
        "path": str(out),
        "bundle": exported.bundle.digest,
        "sha256": exported.sha256,
        "bytes": exported.bytes,
        "operators": list(exported.operators),
        "samples": exported.samples,
        "outputs": [{"output": row.output, "worst": row.worst, "excess": row.excess} for row in exported.outputs],
    }
    emit(document, output=output, table=lambda: _print(exported))


def _print(exported: Exported) -> None:
    rows = [(row.output, f"{row.worst:.3g}", f"{row.excess:.1%}") for row in exported.outputs]
    print_table(["output", "worst error", "of allowed"], rows)
    click.echo(f"{exported.folder}: {exported.bytes:,} bytes, {len(exported.operators)} lines of operators, "
               f"{exported.samples} golden samples passed")  # fmt: skip
