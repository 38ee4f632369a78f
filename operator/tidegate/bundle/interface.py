"""Whether clients of one version can talk to another: the interface-change rule.

Judged against the stable version and both ways, because both versions answer during the steps of a rollout: the same
required inputs, new inputs only if optional, outputs a superset; per dimension equal, or fixed -> dynamic on inputs,
equal on outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tidegate.bundle.errors import InterfaceChanged
from tidegate.bundle.manifest import Interface, TensorSpec


def interface_changes(stable: Interface, candidate: Interface) -> list[str]:
    """What a client of the stable version would trip over, one sentence each; empty: nothing."""
    return [*_input_changes(stable.inputs, candidate.inputs), *_output_changes(stable.outputs, candidate.outputs)]


def require_compatible(stable: Interface, candidate: Interface, *, where: str = "interface") -> None:
    """Raise InterfaceChanged with every broken rule."""
    if changes := interface_changes(stable, candidate):
        raise InterfaceChanged(
            "; ".join(changes)[:2000],
            where=where,
            do="publish it under a new deployment, or set acceptance.interfaceChange: Allow",
        )


def label_changes(stable: Sequence[str], candidate: Sequence[str]) -> list[str]:
    """labels.txt must be unchanged or extended at the end."""
    for number, (old, new) in enumerate(zip(stable, candidate, strict=False)):
        if old != new:
            return [f"label {number} was '{old[:40]}' and is '{new[:40]}'"]
    if len(candidate) < len(stable):
        return [f"{len(stable)} labels became {len(candidate)}"]
    return []


def _input_changes(stable: Sequence[TensorSpec], candidate: Sequence[TensorSpec]) -> Iterator[str]:
    before = {tensor.name: tensor for tensor in stable}
    after = {tensor.name: tensor for tensor in candidate}
    for name, old in before.items():
        if name not in after:
            yield f"input '{name}' is gone"
        else:
            yield from _tensor_changes("input", old, after[name])
            if old.optional and not after[name].optional:
                yield f"input '{name}' was optional and is required"
    for name in after.keys() - before.keys():
        if not after[name].optional:
            yield f"input '{name}' is new and required"


def _output_changes(stable: Sequence[TensorSpec], candidate: Sequence[TensorSpec]) -> Iterator[str]:
    after = {tensor.name: tensor for tensor in candidate}
    for old in stable:
        if old.name not in after:
            yield f"output '{old.name}' is gone"
        else:
            yield from _tensor_changes("output", old, after[old.name])


def _tensor_changes(side: str, old: TensorSpec, new: TensorSpec) -> Iterator[str]:
    if old.element_type != new.element_type:
        yield f"{side} '{old.name}' was {old.element_type} and is {new.element_type}"
    if len(old.shape) != len(new.shape):
        yield f"{side} '{old.name}' had {len(old.shape)} dimensions and has {len(new.shape)}"
        return
    for axis, (before, after) in enumerate(zip(old.shape, new.shape, strict=True)):
        if not _same_size(side, before, after):
            yield f"{side} '{old.name}', dimension {axis}: was {_size(before)} and is {_size(after)}"


def _same_size(side: str, before: int | str, after: int | str) -> bool:
    if isinstance(after, str):  # dynamic: names are documentation, not a contract
        return isinstance(before, str) or side == "input"
    return before == after


def _size(size: int | str) -> str:
    return f"dynamic ({size})" if isinstance(size, str) else str(size)
