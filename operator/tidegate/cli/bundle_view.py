"""How bundles are shown: what one is, how two differ, how its golden samples did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from tidegate.bundle.errors import NotFound
from tidegate.bundle.manifest import Manifest, TensorSpec
from tidegate.cli.output import draws, print_table

if TYPE_CHECKING:
    from tidegate.author.difference import Difference
    from tidegate.author.layers import LayerChange
    from tidegate.author.listing import Listed
    from tidegate.bundle.reader import Resolved

SHOWN_LAYERS = 40


def inspect_document(resolved: Resolved) -> dict[str, Any]:
    """Everything the manifest says, as JSON."""
    manifest = resolved.manifest
    return {
        "digest": resolved.digest,
        "uri": resolved.uri,
        **({"image": resolved.image} if resolved.image else {}),
        "signed": resolved.signature is not None,
        "encrypted": manifest.encryption is not None,
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description,
        "license": manifest.license,
        "createdAt": manifest.created_at,
        "bytes": manifest.total_bytes,
        "model": {
            "file": manifest.model.file,
            "opset": dict(manifest.model.opset),
            "irVersion": manifest.model.ir_version,
            "minimumRuntime": manifest.model.minimum_runtime,
            "producer": manifest.model.producer,
        },
        "inputs": [_tensor(tensor) for tensor in manifest.interface.inputs],
        "outputs": [_tensor(tensor) for tensor in manifest.interface.outputs],
        "files": [{"path": file.path, "bytes": file.bytes, "sha256": file.sha256} for file in manifest.files],
        **_proofs(manifest),
    }


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    row: dict[str, Any] = {"name": tensor.name, "type": tensor.element_type, "shape": list(tensor.shape)}
    return {**row, "optional": True} if tensor.optional else row


def tensors_document(listed: Sequence[Listed]) -> dict[str, Any]:
    """Every tensor of the graph as JSON."""
    return {"tensors": [{"name": row.name, "madeBy": row.made_by, "type": row.kind} for row in listed]}


def print_tensors(listed: Sequence[Listed]) -> None:
    print_table(["tensor", "made by", "type"], [(row.name, row.made_by, row.kind) for row in listed])


def _proofs(manifest: Manifest) -> dict[str, Any]:
    golden, source, lineage = manifest.golden, manifest.source, manifest.lineage
    return {
        "golden": {"samples": len(golden.files), "source": golden.source} if golden else None,
        "metrics": manifest.metric_values(),
        "training": dict(manifest.training),
        "preprocessing": dict(manifest.preprocessing),
        "parity": dict(manifest.parity),
        "source": {"repository": source.repository, "commit": source.commit, "dirty": source.dirty} if source else None,
        "lineage": {"parents": list(lineage.parents), "action": lineage.action} if lineage else None,
        "environment": dict(manifest.environment),
    }


def print_inspection(resolved: Resolved) -> None:
    manifest = resolved.manifest
    click.echo(f"{manifest.name} {manifest.version}" + (f": {manifest.description}" if manifest.description else ""))
    click.echo(f"digest   {resolved.digest}")
    if resolved.image:
        click.echo(f"image    {resolved.image}")
    click.echo(f"size     {manifest.total_bytes:,} bytes in {len(manifest.files)} files")
    click.echo(f"signed   {'yes' if resolved.signature else 'no'}")
    if manifest.encryption:
        click.echo("files    encrypted, for who has an age key of one of its recipients")
    for side, tensors in (("input", manifest.interface.inputs), ("output", manifest.interface.outputs)):
        for tensor in tensors:
            click.echo(f"{side:<8} {tensor.name}: {_shape(tensor)}")
    for metric in manifest.metrics:
        click.echo(f"{metric.name:<8} {metric.value:.4f}" + (f"  ({metric.samples} rows)" if metric.samples else ""))
    if manifest.golden:
        click.echo(f"golden   {len(manifest.golden.files)} samples, {manifest.golden.source}")
    if manifest.source:
        dirty = " with changes that were not committed" if manifest.source.dirty else ""
        click.echo(f"source   {manifest.source.repository} {manifest.source.commit}{dirty}")

    if manifest.lineage:
        click.echo(f"lineage  {manifest.lineage.action} from {', '.join(manifest.lineage.parents)}")
    if card := manifest.entry("README.md"):
        click.echo(f"card     README.md, {card.bytes:,} bytes: tidegate inspect {resolved.uri} --card")


def print_card(text: str, ref: str) -> None:
    """The card as Markdown: rendered on a terminal, as it is in a pipe."""
    if not text:
        raise NotFound("it has no model card", where=ref, do="pack it again: a card is made of the facts")
    if not draws():
        click.echo(text, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    body = text.removeprefix("---\n").partition("\n---\n")[2] if text.startswith("---\n") else text  # no metadata
    Console().print(Markdown(body))


def _shape(tensor: TensorSpec) -> str:
    return f"{tensor.element_type} [{', '.join(map(str, tensor.shape))}]"


def diff_document(found: Difference) -> dict[str, Any]:
    """The difference as JSON."""
    return {
        "same": found.same,
        "accepted": found.accepted,
        "brokenRules": list(found.broken),
        "sharedBytes": found.shared_bytes,
        "changes": [{"what": row.what, "before": row.before, "after": row.after} for row in found.changes],
        "layers": [
            {"name": row.name, "change": row.kind, "type": row.shape, "relative": row.relative} for row in found.layers
        ],
    }


def print_difference(found: Difference) -> None:
    if found.same:
        click.echo("the same bundle")
        return
    print_table(["what", "before", "after"], [(row.what, row.before or "-", row.after or "-") for row in found.changes])
    if found.layers:
        click.echo()
        rows = [(row.name, row.shape, _layer_change(row)) for row in found.layers[:SHOWN_LAYERS]]
        print_table(["weight", "type", "change"], rows)
        if len(found.layers) > SHOWN_LAYERS:
            click.echo(f"… and {len(found.layers) - SHOWN_LAYERS} more: -o json lists all")
        click.echo()
    click.echo(f"shared   {found.shared_bytes:,} bytes are in both and would not be fetched again")
    if found.accepted:
        click.echo("rollout  accepted: clients of the one can talk to the other")
    for rule in found.broken:
        click.echo(f"rollout  refused (InterfaceChanged): {rule}")


def _layer_change(row: LayerChange) -> str:
    return row.kind if row.relative is None else f"{row.kind} by {row.relative:.2%} of its norm"


def print_check(document: dict[str, Any]) -> None:
    print_table(
        ["output", "worst error", "of allowed", "elements"],
        [(row["output"], f"{row['worst']:.3g}", f"{row['excess']:.1%}", row["total"]) for row in document["outputs"]],
    )
    click.echo(f"ok: {document['samples']} golden samples on {document['device']}")
