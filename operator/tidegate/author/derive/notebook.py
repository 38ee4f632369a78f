"""`tidegate.derive` for notebooks: the command as a function."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from tidegate.author.extras import need
from tidegate.author.notebook import Ref, address, refuse_unknown
from tidegate.author.results import Bundle

if TYPE_CHECKING:
    from tidegate.author.derive.acts import Act
    from tidegate.author.request import DataSet


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
