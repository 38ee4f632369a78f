"""What every way of deriving has in common: what it is given, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import onnx

from tidegate.author.columns import as_rows
from tidegate.author.derive.base import Base, pool_for
from tidegate.author.request import DataSet
from tidegate.author.session import Tensors

LABELS = "labels.txt"


@dataclass(frozen=True, slots=True)
class Given:
    """The bundle that is derived from, rows of data where there are any, and the seed of what is drawn."""

    base: Base
    data: DataSet | None
    seed: int

    def rows(self) -> DataSet | None:
        """The data as the base's inputs."""
        if self.data is None:
            return None
        return replace(self.data, columns=as_rows(self.data, self.base.interface))

    def pool(self) -> Tensors:
        """Inputs of the base to compare parts on."""
        return pool_for(self.base.model, self.base.scratch, self.data, self.seed)


@dataclass(frozen=True, slots=True)
class Derived:
    """A new graph whose large weights lie in the base's scratch folder, and what is to be told of it.

    `data`: rows that it is measured on; `files` of the base still belong to it.
    """

    model: onnx.ModelProto
    action: str
    parents: tuple[str, ...]
    reports: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    data: DataSet | None = None
    files: tuple[Path, ...] = ()


class Act(Protocol):
    """One way of deriving."""

    def apply(self, given: Given) -> Derived:
        """The new graph, proved as far as it can be before it is packed."""
