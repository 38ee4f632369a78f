"""catalog and gc: what a store holds, and what it holds in vain."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.bundle.source import Access
from tidegate.cli.duration import Duration
from tidegate.cli.output import emit, output_option, print_table, print_tree, quiet_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tidegate.bundle.catalog import Held
    from tidegate.bundle.stores import Listed

HELP = {"help_option_names": ["-h", "--help"]}
PERSONAL = Access(allow_loopback=True, ambient=True)
COLUMNS = ("version", "digest", "size", "signed", "made by", "metrics", "address")
SHORT_DIGEST = 19
METRICS_SHOWN = 3


@click.command(context_settings=HELP)
@click.argument("uri")
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Also write the catalog as a page."
)
@output_option
@quiet_option
def catalog(uri: str, *, page: Path | None, output: str, quiet: bool) -> None:
    """Show what a store holds: versions, digests, metrics, signatures, and which was made from which.

    URI is a store or a part of one, without a version: a bucket, a repository, a registry, a directory.
    With --quiet: the addresses.

    \b
    Example: tidegate catalog s3://models --html models.html
    """
    from tidegate.bundle.catalog import catalog as look
    from tidegate.bundle.catalog import lineage

    found = look(uri, PERSONAL)
    tree = list(lineage(found))
    if page is not None:
        from tidegate.cli.catalog_page import render
        from tidegate.page import write_page

        write_page(render(uri, tree), page)
    if quiet:
        for held in found:
            click.echo(held.uri)
        return
    emit({"uri": uri, "bundles": [document(held) for held in found]}, output=output, table=lambda: _print(tree))


def document(held: Held) -> dict[str, Any]:
    """One version as JSON; `problem` where it cannot be read."""
    resolved = held.resolved
    if resolved is None:
        return {"uri": held.uri, "problem": held.problem}
    manifest = resolved.manifest
    lineage = manifest.lineage
    return {
        "uri": held.uri,
        "name": manifest.name,
        "version": manifest.version,
        "digest": resolved.digest,
        **({"image": resolved.image} if resolved.image else {}),
        "bytes": manifest.total_bytes,
        "signed": resolved.signature is not None,
        "createdAt": manifest.created_at,
        "license": manifest.license,
        "metrics": manifest.metric_values(),
        "lineage": {"parents": list(lineage.parents), "action": lineage.action} if lineage else None,
    }


def cells(held: Held) -> list[str]:
    """One version as the cells of COLUMNS."""
    resolved = held.resolved
    if resolved is None:
        return ["(unreadable)", "", "", "", "", held.problem, held.uri]
    manifest = resolved.manifest
    shown = list(manifest.metric_values().items())[:METRICS_SHOWN]
    return [
        f"{manifest.name} {manifest.version}",
        resolved.digest[:SHORT_DIGEST],
        f"{manifest.total_bytes:,}",
        "yes" if resolved.signature is not None else "no",
        manifest.lineage.action if manifest.lineage else "",
        ", ".join(f"{name} {value:.4g}" for name, value in shown),
        held.uri,
    ]


def _print(tree: Sequence[tuple[int, Held]]) -> None:
    if not tree:
        click.echo("no bundles there")
        return
    print_tree(COLUMNS, [(depth, cells(held)) for depth, held in tree], {})


@click.command(context_settings=HELP)
@click.argument("uri")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option(
    "--older-than", type=Duration(), default="168h", show_default=True, help="A push may still run till then."
)
@output_option
@quiet_option
def gc(uri: str, *, dry_run: bool, older_than: float, output: str, quiet: bool) -> None:
    """Remove what broken-off pushes left in a repository: blobs that no manifest names, older than seven days.

    URI is the repository: a version's address without the version. Every manifest is kept, those of replaced versions
    too, and what they name. With --quiet: the bytes.

    \b
    Example: tidegate gc s3://models/digits --dry-run
    """
    from tidegate.bundle.stores import open_shelf
    from tidegate.bundle.uri import parse_place

    shelf = open_shelf(parse_place(uri), PERSONAL)
    try:
        gone = shelf.sweep(time.time() - older_than, dry_run=dry_run)
    finally:
        shelf.close()
    total = sum(file.bytes for file in gone)
    if quiet:
        click.echo(total)
        return
    rows = [{"path": file.path, "bytes": file.bytes} for file in gone]
    result = {"uri": uri, "removed": not dry_run, "files": rows, "bytes": total}
    emit(result, output=output, table=lambda: _print_gone(gone, total, dry_run=dry_run))


def _print_gone(gone: Sequence[Listed], total: int, *, dry_run: bool) -> None:
    if gone:
        print_table(("blob", "bytes"), [(file.path, f"{file.bytes:,}") for file in gone])
    click.echo(f"{len(gone)} files, {total:,} bytes {'would be ' if dry_run else ''}removed")
