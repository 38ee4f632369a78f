"""`tidegate.optimize` and `tidegate.derive` in a notebook: bundles made of bundles, as the commands make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from tidegate.author.extras import need
from tidegate.author.notebook import Ref, address, refuse_unknown
from tidegate.author.pages import table
from tidegate.author.results import Bundle

if TYPE_CHECKING:
    from tidegate.author.derive.acts import Act
    from tidegate.author.optimize import Precision
    from tidegate.author.optimize.comparison import Comparison
    from tidegate.author.request import DataSet


class OptimizeOptions(TypedDict, total=False):
    """What is done, and how it is judged, by the names of the command's flags."""

    student: str
    prune: float
    graph: bool
    precision: Precision
    calibration: Any  # rows to learn from, as `data`
    max_drop: float
    threads: int
    seconds: float
    name: str
    description: str
    created_at: str


class DeriveOptions(TypedDict, total=False):
    """Further options of `derive`, by the names of the command's flags."""

    name: str
    data: Any
    labels: Any
    golden: str
    golden_count: int
    seed: int
    files: Sequence[str | Path]
    description: str
    license: str
    created_at: str


@dataclass(frozen=True, slots=True)
class Optimized:
    """A variant, and what it was compared with: parent and steps in size, accuracy and latency."""

    bundle: Bundle
    comparison: Comparison

    def _repr_html_(self) -> str:
        columns, rows = self.comparison.table()
        return table(f"{self.bundle.name} {self.bundle.version} in {self.bundle.ref}", columns, rows)


def optimize(
    ref: Ref, *, out: str | Path, version: str, data: Any, labels: Any = None, **options: Unpack[OptimizeOptions]
) -> Optimized:
    """Make a smaller or faster variant of a bundle and prove it against its parent on these labelled rows.

    Raises AccuracyLost, and writes nothing, when it loses more than `max_drop`.
    """
    refuse_unknown("optimize", options, OptimizeOptions)
    need("numpy", extra="runtime")
    from tidegate.author.given_data import data_set
    from tidegate.author.optimize import OptimizeRequest
    from tidegate.author.optimize import optimize as make

    rows = data_set(data, labels)
    if rows is None:
        raise TypeError("optimize() needs data= to judge by")
    given = {**options, "calibration": data_set(options.get("calibration"))}
    packed, comparison = make(address(ref), OptimizeRequest(Path(out), version, rows, **given))  # type: ignore[arg-type]
    return Optimized(Bundle.of(packed), comparison)


def derive(ref: Ref, act: Act, *, out: str | Path, version: str, **options: Unpack[DeriveOptions]) -> Bundle:
    """Make a bundle of another one: `act` is Extract, NewWeights, Compose, TrainHead or Process."""
    refuse_unknown("derive", options, DeriveOptions)
    for module in ("numpy", "onnx", "onnxruntime"):
        need(module, extra="runtime")
    from tidegate.author.derive.deriving import derive as make
    from tidegate.author.given_data import data_set
    from tidegate.author.request import GENERATED, GoldenRequest, PackRequest

    default = GoldenRequest()
    rows: DataSet | None = data_set(options.get("data"), options.get("labels"))
    request = PackRequest(
        out=Path(out),
        name=options.get("name", ""),
        version=version,
        description=options.get("description", ""),
        license=options.get("license", ""),
        created_at=options.get("created_at", ""),
        data=rows,
        files=tuple(map(Path, options.get("files", ()))),
        golden=GoldenRequest(
            options.get("golden", GENERATED),
            options.get("golden_count", default.count),
            options.get("seed", default.seed),
        ),
    )
    return Bundle.of(make(address(ref), act, request, light="golden_count" not in options))
