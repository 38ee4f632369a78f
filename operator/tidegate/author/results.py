"""What the functions of a notebook give: values that print as a line and show as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.author.pages import page, table
from tidegate.bundle.manifest import Interface, Manifest, TensorSpec

if TYPE_CHECKING:
    from tidegate.author.matrix import Cell
    from tidegate.author.packing import Packed


@dataclass(frozen=True, slots=True, repr=False)
class Bundle:
    """A bundle at `ref`, a folder or an address; `warnings` and `notes` are what its maker should know."""

    ref: str
    digest: str
    manifest: Manifest
    signed: bool = False
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, packed: Packed) -> Bundle:
        """What `pack` has made."""
        found = packed.bundle
        return cls(str(found.path), found.digest, found.manifest, warnings=packed.warnings, notes=packed.notes)

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def path(self) -> Path:
        """Its folder; of a bundle in a store there is none before `pull`."""
        return Path(self.ref)

    @property
    def metrics(self) -> dict[str, float]:
        return self.manifest.metric_values()

    @property
    def interface(self) -> Interface:
        return self.manifest.interface

    @property
    def card(self) -> str:
        """Its model card, read from where it lies."""
        from tidegate.author.opened import opened

        with opened(self.ref) as found:
            return found.card()

    def __repr__(self) -> str:
        metrics = "".join(f", {name} {value:.4g}" for name, value in self.metrics.items())
        return f"<bundle {self.name} {self.version} in {self.ref}: {self.digest[:19]}…{metrics}>"

    def _repr_html_(self) -> str:
        return page(f"{self.name} {self.version}", self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        manifest, golden = self.manifest, self.manifest.golden
        rows = [
            ("description", manifest.description),
            ("where", self.ref),
            ("digest", self.digest),
            ("size", f"{manifest.total_bytes:,} bytes in {len(manifest.files)} files"),
            ("license", manifest.license),
            *((f"input {tensor.name}", _shape(tensor)) for tensor in manifest.interface.inputs),
            *((f"output {tensor.name}", _shape(tensor)) for tensor in manifest.interface.outputs),
            *((metric.name, _metric(metric.value, metric.samples, metric.dataset)) for metric in manifest.metrics),
            ("parity", _parity(manifest.parity)),
            ("golden samples", f"{len(golden.files)}, {golden.source}" if golden else "none"),
            ("signed", "yes" if self.signed else ""),
        ]
        return [*rows, *(("warning", text) for text in self.warnings), *(("note", text) for text in self.notes)]


def _shape(tensor: TensorSpec) -> str:
    return f"{tensor.element_type} [{', '.join(map(str, tensor.shape))}]"


def _metric(value: float, rows: int, data: str) -> str:
    return f"{value:.4f}" + (f" ({rows} rows of {data})" if rows else "")


def _parity(parity: Mapping[str, Any]) -> str:
    original = parity.get("original")
    if not original:
        return ""
    return f"{original['rows']} rows against {original['against']}: {original['mismatchedRows']} differ"


@dataclass(frozen=True, slots=True, repr=False)
class Checked:
    """How the golden samples of a bundle did; `document` is what `tidegate check -o json` prints."""

    ref: str
    document: Mapping[str, Any] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        """The largest difference of any output from what it must be."""
        return max((float(row["worst"]) for row in self.document["outputs"]), default=0.0)

    def __repr__(self) -> str:
        return f"<{self.document['samples']} golden samples of {self.ref} on {self.document['device']}: all match>"

    def _repr_html_(self) -> str:
        rows = [
            (row["output"], f"{row['worst']:.3g}", f"{row['excess']:.1%}", row["total"])
            for row in self.document["outputs"]
        ]
        return table(repr(self)[1:-1], ["output", "worst error", "of allowed", "elements"], rows)


@dataclass(frozen=True, slots=True, repr=False)
class Matrix:
    """How the golden samples of a bundle did under each version, provider and number of threads."""

    ref: str
    digest: str
    cells: tuple[Cell, ...]

    @property
    def failed(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if not cell.ok)

    @property
    def ok(self) -> bool:
        return not self.failed

    @property
    def document(self) -> dict[str, Any]:
        """What `tidegate matrix -o json` prints."""
        cells = [cell.document() for cell in self.cells]
        return {"ref": self.ref, "digest": self.digest, "ok": self.ok, "cells": cells}

    def __repr__(self) -> str:
        passed = len(self.cells) - len(self.failed)
        return f"<golden samples of {self.ref}: {passed} of {len(self.cells)} cells pass>"

    def _repr_html_(self) -> str:
        from tidegate.author.matrix import COLUMNS

        rows = [(*cell.row(), cell.reason) for cell in self.cells]
        return table(repr(self)[1:-1], [*COLUMNS, "reason"], rows)


@dataclass(frozen=True, slots=True)
class Published:
    """A bundle in a store; `already`: it was there before, and nothing was sent."""

    uri: str
    digest: str
    files_sent: int
    bytes_sent: int
    already: bool

    def _repr_html_(self) -> str:
        sent = "already there" if self.already else f"{self.files_sent} files, {self.bytes_sent:,} bytes sent"
        return page("published", [("where", self.uri), ("digest", self.digest), ("sent", sent)])
