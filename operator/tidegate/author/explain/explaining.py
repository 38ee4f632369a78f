"""The command: rows of data explained, and what was found written as tensors and as a page."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidegate.attribution.explaining import (
    Explained,
    Limits,
    Material,
    Progress,
    Wish,
    batch_of_one,
    explain_rows,
    explainable,
)
from tidegate.attribution.methods import SHAPLEY
from tidegate.author.checking import here
from tidegate.author.columns import as_rows
from tidegate.author.explain.kernel import way_of
from tidegate.author.packing import fresh_folder, require_new
from tidegate.author.request import DataSet
from tidegate.author.session import Tensors, open_runner
from tidegate.bundle.manifest import BundleDir, read_bundle_dir

ARRAYS, PAGE = "attributions.npz", "explanation.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainRequest(Wish):
    """An explanation to be written to the folder `out`, of the first `rows` rows of `data`."""

    out: Path
    data: DataSet
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation(Explained):
    """What was found of a bundle's rows, which `rows` holds as the model sees them."""

    bundle: BundleDir
    request: ExplainRequest
    rows: Tensors


def explain(ref: str, request: ExplainRequest, progress: Progress | None = None) -> Explanation:
    """Explain rows of the model at `ref` and write attributions.npz and explanation.html into a new folder."""
    require_new(request.out)
    with here(ref) as folder:
        found = _explained(read_bundle_dir(folder), request, progress)
    from tidegate.author.explain.page import render

    arrays = found.arrays(errors=request.method == SHAPLEY)
    with fresh_folder(request.out) as made:
        np.savez_compressed(made / ARRAYS, **arrays)  # type: ignore[arg-type]  # taken for its own flag
        (made / PAGE).write_text(render(found), encoding="utf-8")
        os.rename(made, request.out)  # noqa: PTH104 - fails on a full folder, as it should
    return found


def _explained(bundle: BundleDir, request: ExplainRequest, progress: Progress | None) -> Explanation:
    interface = bundle.manifest.interface
    outputs = explainable(interface.outputs, request.outputs, request.called)
    runner = open_runner(bundle.path / bundle.manifest.model.file, interface)
    rows, named = as_rows(request.data, interface), request.data.columns
    columns = tuple(named) if len(named) > 1 and len(rows) == 1 else ()
    material = Material(interface, rows, outputs, columns)
    found = explain_rows(runner.run_pool, way_of(request.method), material, request, Limits(), progress)
    count, alone = len(found.each), batch_of_one(interface)
    shown = {name: array[:count, 0] if alone else array[:count] for name, array in rows.items()}
    return Explanation(found.players, found.outputs, found.shapes, found.each, bundle, request, shown)
