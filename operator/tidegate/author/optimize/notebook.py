"""`tidegate.optimize` for notebooks: the command as a function, its table and plot as what a notebook shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from tidegate.author.extras import need
from tidegate.author.optimize import OptimizeRequest, Precision
from tidegate.author.optimize import optimize as make
from tidegate.author.optimize.request import to_learn_from
from tidegate.author.pages import table
from tidegate.author.results import Bundle
from tidegate.errors import UsageError

if TYPE_CHECKING:
    from tidegate.author.optimize.comparison import Comparison


class OptimizeOptions(TypedDict, total=False):
    """What is to be done, and further options, by the names of the command's flags."""

    labels: Any
    calibration: Any  # rows to learn from
    graph: bool
    fp16: bool
    int8: Literal["dynamic", "static", "mixed"]
    prune: float
    distill: str
    max_accuracy_drop: float
    name: str
    description: str
    created_at: str
    threads: int
    seconds: float


# Option -> the field of the request that it fills as it is.
FIELDS = {
    **{name: name for name in ("graph", "prune", "name", "description", "created_at", "threads", "seconds")},
    "distill": "student",
    "max_accuracy_drop": "max_drop",
}


@dataclass(frozen=True, slots=True, repr=False)
class Optimized:
    """The variant's bundle, and how it compares with its parent."""

    bundle: Bundle
    comparison: Comparison

    def __repr__(self) -> str:
        parent, *_, last = self.comparison.variants
        lost = f"{self.comparison.metric} {last.quality.value:.4f} of {parent.quality.value:.4f}"
        return f"<{self.bundle.name} {self.bundle.version}: {last.bytes / parent.bytes:.0%} of the size, {lost}>"

    def _repr_html_(self) -> str:
        from tidegate.author.optimize.plot import plot

        title = repr(self)[1:-1]
        return table(title, *self.comparison.table()) + plot(self.comparison, title)


def optimize(
    ref: str | Path | Bundle, *, out: str | Path, version: str, data: Any, **options: Unpack[OptimizeOptions]
) -> Optimized:
    """Make a smaller or faster variant of a bundle in the folder `out`, and prove it on labelled rows.

    `data` and `labels` as `pack` takes them.  Raises AccuracyLost, whose `comparison` has the figures, and whatever
    else the command refuses with.
    """
    unknown = sorted(set(options) - set(OptimizeOptions.__annotations__))
    if unknown:
        raise TypeError(f"optimize() got an unexpected keyword argument '{unknown[0]}'")
    address = ref.ref if isinstance(ref, Bundle) else str(ref)
    packed, found = make(address, _request(Path(out), version, data, options))
    made = packed.bundle
    bundle = Bundle(str(made.path), made.digest, made.manifest, warnings=packed.warnings, notes=packed.notes)
    return Optimized(bundle, found)


def _request(out: Path, version: str, data: Any, options: OptimizeOptions) -> OptimizeRequest:
    need("numpy", extra="optimize")
    from tidegate.author.given_data import data_set

    labels = options.get("labels")
    judges, calibration = data_set(data, labels), data_set(options.get("calibration"))
    if judges is None:
        raise UsageError("there are no rows to judge it by", where="data", do="give labelled rows: data=, labels=")
    if calibration is not None and isinstance(labels, str):
        calibration = to_learn_from(calibration, labels)
    given: Mapping[str, Any] = options
    same = {field: given[option] for option, field in FIELDS.items() if option in given}
    return OptimizeRequest(out, version, judges, calibration, precision=_precision(options), **same)


def _precision(options: OptimizeOptions) -> Precision:
    if options.get("fp16") and options.get("int8"):
        raise UsageError("a model has 16 bits or 8", where="fp16, int8", do="ask for one of them")
    bits: Mapping[str, Precision] = {"dynamic": "int8-dynamic", "static": "int8-static", "mixed": "int8-mixed"}
    if "int8" in options:
        if options["int8"] not in bits:
            raise UsageError(f"there is no {options['int8']!r}", where="int8", do=f"say one of {', '.join(bits)}")
        return bits[options["int8"]]
    return "fp16" if options.get("fp16") else ""
