"""matrix: a bundle's golden samples under other ONNX Runtimes, providers and threads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate.cli.bundles import identity_option
from tidegate.cli.output import emit, output_option, print_table, quiet_option
from tidegate.cli.progress import counted_steps_line
from tidegate.errors import UsageError

if TYPE_CHECKING:
    from tidegate.author.results import Matrix


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("ref")
@click.option(
    "--onnxruntime",
    "versions",
    metavar="V,V",
    help="Versions: 1.23, 1.23.2 or latest.  [default: the one it was packed with, latest]",
)
@click.option(
    "--provider",
    "providers",
    default="cpu",
    show_default=True,
    metavar="P,P",
    help="cpu, cuda, tensorrt, openvino, coreml, directml.",
)
@click.option("--threads", default="1,2", show_default=True, metavar="N,N", help="Threads of a session.")
@identity_option
@output_option
@quiet_option
def matrix(  # noqa: PLR0913  (one parameter per option)
    ref: str,
    *,
    versions: str | None,
    providers: str,
    threads: str,
    identity: Path | None,
    output: str,
    quiet: bool,
) -> int:
    """Run the golden samples under other versions of ONNX Runtime, providers and thread settings.

    Each version is installed by uv into a temporary environment, which is removed afterwards. Ends with 1 when a cell
    fails. With --quiet: the cells that fail, and nothing when none does.

    \b
    Example: tidegate matrix bundle --onnxruntime 1.23,1.30,latest --threads 1,4
    """
    from tidegate.author.checking import here
    from tidegate.author.extras import need

    need("numpy", extra="runtime")
    from tidegate.author.matrix import Axes, run_matrix, usual_versions
    from tidegate.author.results import Matrix
    from tidegate.bundle.manifest import read_bundle_dir

    with here(ref, identity) as folder:
        bundle = read_bundle_dir(folder)
        asked = usual_versions(bundle) if versions is None else _listed(versions)
        axes = Axes(asked, _listed(providers), _threads(threads))
        with counted_steps_line() as told:
            cells = run_matrix(bundle, axes, told, secrets=folder.parent if identity else None)
    found = Matrix(ref, bundle.digest, tuple(cells))
    if quiet:
        for cell in found.failed:
            click.echo(cell.why(f", threads {cell.threads}"))
    else:
        emit(found.document, output=output, table=lambda: _print(found))
    return 1 if found.failed else 0


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in (part.strip() for part in text.split(",")) if part))


def _threads(text: str) -> tuple[int, ...]:
    parts = _listed(text)
    if not parts or not all(part.isdigit() for part in parts):
        raise UsageError(f"'{text}' is no list of numbers", where="--threads", do="write, for example, 1,4")
    return tuple(int(part) for part in parts)


def _print(found: Matrix) -> None:
    from tidegate.author.matrix import COLUMNS

    print_table(COLUMNS, [cell.row() for cell in found.cells])
    for line in dict.fromkeys(cell.why() for cell in found.failed):  # what cannot be installed fails on any threads
        click.echo(line)
    click.echo(f"{len(found.cells) - len(found.failed)} of {len(found.cells)} pass")
