"""A component of a model as a bundle of its own: a feature extractor, one branch, the part behind an embedding."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.author.derive.acts import Derived, Given
from tidegate.author.derive.agreement import require_agreement
from tidegate.author.derive.cutting import cut
from tidegate.author.derive.tensors import look_at, require_tensors
from tidegate.author.describe import interface_of

EXTRACTED = "extracted"


@dataclass(frozen=True, slots=True)
class Extract:
    """Between named tensors; without `inputs`, from those of the model that the outputs need."""

    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()

    def apply(self, given: Given) -> Derived:
        """What computes `outputs` from `inputs`, compared with the same tensors inside the whole model."""
        base = given.base
        outputs = self.outputs or tuple(tensor.name for tensor in base.interface.outputs)
        require_tensors(base.model, [*self.inputs, *outputs], base.ref)
        needed = tuple(tensor.name for tensor in base.interface.inputs)
        seen = look_at(base.model, base.scratch, [*self.inputs, *outputs], given.pool())
        starts = self.inputs or needed
        model = cut(
            base.model, seen.declared(starts), seen.declared(outputs), where=base.ref, all_used=bool(self.inputs)
        )
        kept = [tensor.name for tensor in interface_of(model).inputs]
        asked = (({name: one[name] for name in kept}, {name: one[name] for name in outputs}) for one in seen.requests)
        report = require_agreement(model, base.scratch, asked, "the same tensors inside the parent")
        data = None if self.inputs else given.rows()  # rows of the parent say nothing of what goes in further down
        return Derived(model, EXTRACTED, (base.digest,), {EXTRACTED: report}, data=data)
