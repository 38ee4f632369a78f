"""One model of `make frameworks`: how it is made, and what packing it must come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Case:
    """A model of some kind in some format; `make` writes it into a folder and gives the SOURCE for `pack`.

    `data` is a file that it wrote beside it, `golden` one of inputs with the answers that must come; `dims` are sizes of
    dynamic dimensions; `options` are further fields of
    PackRequest, where a text that names something in the folder becomes its path.  `refused` is a pattern of the
    sentence that it must end in; "": it must become a bundle that answers as the original does.

    `tuned` gives the same model after more training: it is packed as well, with the first bundle as its parent, and
    `tidegate diff` must then list the weights `moved` and no other.
    """

    framework: str
    format: str
    model: str
    make: Callable[[Path], str]
    data: str = ""
    dims: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    tuned: Callable[[Path], str] | None = None
    moved: tuple[str, ...] = ()
    golden: str = ""
