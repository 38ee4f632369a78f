"""What changes from one bundle to another, its weights too, and whether a rollout would take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.author.layers import LayerChange, layer_changes
from tidegate.author.opened import Opened
from tidegate.author.pages import table
from tidegate.bundle.interface import interface_changes, label_changes
from tidegate.bundle.manifest import Manifest, TensorSpec


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is different; an empty side: it is not there."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Difference:
    """All of it; `broken` are the interface rules that a rollout would refuse it for."""

    same: bool
    changes: tuple[Change, ...]
    broken: tuple[str, ...]
    shared_bytes: int  # of files that both have: they are not fetched again
    layers: tuple[LayerChange, ...] = ()

    @property
    def accepted(self) -> bool:
        return not self.broken

    def _repr_html_(self) -> str:
        """For a notebook."""
        verdict = "a rollout would take it" if self.accepted else f"a rollout would refuse it: {'; '.join(self.broken)}"
        rows = [(change.what, change.before or "-", change.after or "-") for change in self.changes]
        return table("the same bundle" if self.same else verdict, ["what", "before", "after"], rows)


def difference(before: Opened, after: Opened) -> Difference:
    """From the bundle that serves to the one that would follow it."""
    old, new = before.manifest, after.manifest
    broken = [*interface_changes(old.interface, new.interface), *label_changes(before.labels(), after.labels())]
    known = {entry.sha256 for entry in old.files}
    return Difference(
        same=before.resolved.digest == after.resolved.digest,
        changes=(
            *_named("", _facts(before, old), _facts(after, new)),
            *_named("input ", _tensors(old.interface.inputs), _tensors(new.interface.inputs)),
            *_named("output ", _tensors(old.interface.outputs), _tensors(new.interface.outputs)),
            *_named("metric ", _metrics(old), _metrics(new)),
            *_named("operator ", _operators(before), _operators(after)),
        ),
        broken=tuple(broken),
        shared_bytes=sum(entry.bytes for entry in new.files if entry.sha256 in known),
        layers=tuple(layer_changes(before, after)),
    )


def _named(prefix: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    names = dict.fromkeys((*before, *after))
    return [
        Change(prefix + name, before.get(name, ""), after.get(name, ""))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _facts(opened: Opened, manifest: Manifest) -> dict[str, str]:
    golden, lineage, opset = manifest.golden, manifest.lineage, sorted(manifest.model.opset.items())
    return {
        "digest": opened.resolved.digest,
        "name": manifest.name,
        "version": manifest.version,
        "bytes": f"{manifest.total_bytes:,}",
        "opset": ", ".join(f"{domain or 'ai.onnx'} {number}" for domain, number in opset),
        "golden samples": f"{len(golden.files)} {golden.source}" if golden else "none",
        "lineage": f"{lineage.action} of {', '.join(lineage.parents)}" if lineage else "",
        "signed": "yes" if opened.resolved.signature else "no",
    }


def _tensors(tensors: tuple[TensorSpec, ...]) -> dict[str, str]:
    return {tensor.name: shape_of(tensor) for tensor in tensors}


def shape_of(tensor: TensorSpec) -> str:
    """As `FP32 [batch, 64]`."""
    text = f"{tensor.element_type} [{', '.join(map(str, tensor.shape))}]"
    return f"{text} optional" if tensor.optional else text


def _metrics(manifest: Manifest) -> dict[str, str]:
    return {metric.name: f"{metric.value:.6g}" for metric in manifest.metrics}


def _operators(opened: Opened) -> dict[str, str]:
    from tidegate.author.describe import operators  # ONNX is needed here only

    return {name: str(count) for name, count in operators(opened.graph()).items()}
