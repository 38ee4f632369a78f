"""What `pack` is asked for, in one value: the command line and the Python API fill the same fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tidegate.bundle.manifest import Lineage

GENERATED, HELDOUT, NONE = "generated", "heldout", "none"


@dataclass(frozen=True, slots=True)
class DataSet:
    """Rows a model is measured on: columns by input name, or one matrix under `X`, and what is right for each row.

    `digest` is the sha256 of the file it came from, so that a metric can be traced to its data.  `published` holds the
    columns as they may become golden samples, where that is not as they are.  `classes` names what numbers in `labels`
    stand for; `preprocessing` says how the columns were made of what the file holds.
    """

    name: str
    columns: Mapping[str, Any]
    labels: Any = None
    digest: str = ""
    published: Mapping[str, Any] | None = None
    classes: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)

    def as_published(self) -> DataSet:
        """The same rows as golden samples may hold them."""
        return self if self.published is None else replace(self, columns=self.published)


@dataclass(frozen=True, slots=True)
class GoldenRequest:
    """Where golden samples come from: `generated`, `heldout` rows of the data, a file of the user's, or `none`."""

    source: str = GENERATED
    count: int = 8
    seed: int = 20_240_229
    dims: Mapping[str, int] = field(default_factory=dict)


def _nobody(step: str) -> None:
    """Progress is told to nobody."""


@dataclass(frozen=True, slots=True)
class PackRequest:
    """A bundle to be made at `out`; everything but the first three is optional."""

    out: Path
    name: str
    version: str
    description: str = ""
    license: str = ""
    created_at: str = ""
    data: DataSet | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    golden: GoldenRequest = field(default_factory=GoldenRequest)
    source_folder: Path | None = None  # the working tree the model was made in; asked for its Git commit
    trust_pickle: bool = False
    trust_lambda: bool = False  # read Keras's Lambda layers, which may run any code
    interface: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)  # by input: sizes, or names
    weights: Path | None = None  # put into the module that a factory builds
    lineage: Lineage | None = None  # the bundles it was made from
    parent: str = ""  # the bundle it was fine-tuned from, a folder or address: becomes the lineage
    told: Callable[[str], None] = _nobody  # of each step that may take long, in a few words
    card: Path | None = None  # README.md as a person wrote it; else it is made of the facts
    sbom: bool = False
    reports: Mapping[str, Any] = field(default_factory=dict)  # further proofs, beside `pack`'s own in `parity`
