"""The published bundle that a model was fine-tuned from: resolved before anything is made, compared at the end.

Only its manifest and labels are read: the training took place elsewhere, so what there is to say is which bytes it
began with, and whether clients of the one can talk to the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate.author.opened import opened
from tidegate.bundle.interface import interface_changes, label_changes
from tidegate.bundle.manifest import Interface, Lineage

FINE_TUNED = "fine-tuned"


@dataclass(frozen=True, slots=True)
class Parent:
    """What is kept of a parent while its child is made; `labels` are empty where there are none."""

    ref: str
    digest: str
    interface: Interface
    labels: Sequence[str]

    @property
    def lineage(self) -> Lineage:
        return Lineage((self.digest,), FINE_TUNED)

    def broken_by(self, child: Path) -> list[str]:
        """A sentence per rule that a rollout from the parent to the bundle in this folder would be refused for."""
        with opened(str(child)) as found:
            broken = [
                *interface_changes(self.interface, found.manifest.interface),
                *label_changes(self.labels, found.labels()),
            ]
        return [f"a rollout from {self.ref} would be refused (InterfaceChanged): {rule}" for rule in broken]


def find_parent(ref: str) -> Parent:
    """The bundle at a folder or address; raises what resolving it raises, such as NotFound."""
    with opened(ref) as found:
        return Parent(ref, found.resolved.digest, found.manifest.interface, found.labels())
