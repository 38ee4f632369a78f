"""matrix: a bundle's golden samples under other ONNX Runtimes, providers and threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tidegate.cli.output import emit, output_option, print_table, quiet_option
from tidegate.cli.progress import counted_steps_line
from tidegate.errors import UsageError

if TYPE_CHECKING:
    from tidegate.author.matrix import Cell


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
@output_option
@quiet_option
def matrix(ref: str, *, versions: str | None, providers: str, threads: str, output: str, quiet: bool) -> int:
    """Run the golden samples under other versions of ONNX Runtime, providers and thread settings.

    Each version is installed by uv into a temporary environment, which is removed afterwards. Ends with 1 when a cell
    fails. With --quiet: the cells that fail, and nothing when none does.

    \b
    Example: tidegate matrix bundle --onnxruntime 1.23,1.30,latest --threads 1,4
    """
    from tidegate.author.checking import here
    from tidegate.author.extras import need

    need("numpy", extra="runtime")
    from tidegate.author.matrix import Axes, run_matrix
    from tidegate.bundle.manifest import read_bundle_dir

    with here(ref) as folder:
        bundle = read_bundle_dir(folder)
        asked = versions or ",".join(filter(None, (bundle.manifest.model.minimum_runtime, "latest")))
        axes = Axes(_listed(asked), _listed(providers), _threads(threads))
        with counted_steps_line() as told:
            cells = run_matrix(bundle, axes, told)
    failed = [cell for cell in cells if not cell.ok]
    if quiet:
        for cell in failed:
            click.echo(_line(cell, f", threads {cell.threads}"))
    else:
        document = {"ref": ref, "digest": bundle.digest, "ok": not failed, "cells": [cell.document() for cell in cells]}
        emit(document, output=output, table=lambda: _print(cells))
    return 1 if failed else 0


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in (part.strip() for part in text.split(",")) if part))


def _threads(text: str) -> tuple[int, ...]:
    parts = _listed(text)
    if not parts or not all(part.isdigit() for part in parts):
        raise UsageError(f"'{text}' is no list of numbers", where="--threads", do="write, for example, 1,4")
    return tuple(int(part) for part in parts)


def _line(cell: Cell, threads: str = "") -> str:
    return f"onnxruntime {cell.version or cell.asked}, {cell.provider}{threads}: {cell.reason}"


def _print(cells: list[Cell]) -> None:
    rows = [
        (
            cell.version or cell.asked,
            cell.provider,
            cell.threads,
            "ok" if cell.ok else "failed",
            f"{cell.worst:.3g}" if cell.milliseconds else "-",
            f"{cell.used:.1%}" if cell.milliseconds else "-",
            f"{cell.milliseconds:.1f}" if cell.milliseconds else "-",
        )
        for cell in cells
    ]
    print_table(["onnxruntime", "provider", "threads", "result", "worst error", "of allowed", "ms"], rows)
    failed = [cell for cell in cells if not cell.ok]
    for line in dict.fromkeys(map(_line, failed)):  # what cannot be installed fails with any number of threads
        click.echo(line)
    click.echo(f"{len(cells) - len(failed)} of {len(cells)} pass")
