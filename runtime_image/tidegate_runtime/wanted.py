"""Which outputs a request asks for, and in which form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tidegate_runtime import classification
from tidegate_runtime.interfaces import Array
from tidegate_runtime.signature import Port
from tidegate_runtime.types import CARRIERS, Carrier


@dataclass(slots=True)
class Wanted:
    """One output that a client asked for."""

    index: int  # among the model's outputs
    port: Port
    classes: int = 0  # so many of its highest values instead of the tensor itself
    carrier: Carrier = field(init=False)

    def __post_init__(self) -> None:
        self.carrier = CARRIERS["BYTES"] if self.classes else self.port.carrier

    def of(self, outputs: Sequence[Array], labels: Sequence[str]) -> Array:
        """What is answered, from all that the model gave; raises BadRequest when it would be too much text."""
        array = outputs[self.index]
        return classification.highest(self.port.spec, array, self.classes, labels) if self.classes else array
