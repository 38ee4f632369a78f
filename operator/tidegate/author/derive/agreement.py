"""Whether a derived graph answers like the parts it was made of: compared at several batch sizes, refused when not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tidegate.author.derive.base import write_graph
from tidegate.author.describe import interface_of
from tidegate.author.golden import tolerances
from tidegate.author.graph import is_quantized
from tidegate.author.parity import ParityLost
from tidegate.author.rowwise import ShapesDiffer, compare_rows
from tidegate.author.session import Array, Tensors, open_runner
from tidegate.author.tipping import explains


def require_agreement(
    model: onnx.ModelProto, scratch: Path, asked: Iterable[tuple[Tensors, Mapping[str, Array]]], against: str
) -> dict[str, Any]:
    """Run each request and compare with what is expected; for the manifest: rows, those that differ, by how much.

    Raises ParityLost where rounding does not explain that rows differ, by the same rule as `pack`, and ModelInvalid for
    a graph that does not run.
    """
    runner = open_runner(write_graph(model, scratch), interface_of(model))
    rules = tolerances(runner.interface, quantized=is_quantized(model))
    rows = mismatched = 0
    worst = 0.0
    differing, asked_of = Counter[str](), Counter[str]()  # rows by output
    for request, expected in asked:
        try:
            compared = compare_rows(expected, runner.run(request), runner.interface.outputs, rules)
        except ShapesDiffer as error:
            raise ParityLost(str(error), where="parity") from None
        wrong = _wrong([output.wrong for output in compared.values()])
        rows, mismatched = rows + len(wrong), mismatched + int(wrong.sum())
        differing.update({name: int(output.wrong.sum()) for name, output in compared.items()})
        asked_of.update({name: len(output.wrong) for name, output in compared.items()})
        agreeing = (output.distance[~output.wrong] for output in compared.values())
        worst = max(worst, *(float(part.max(initial=0.0)) for part in agreeing))
    for name, total in asked_of.items():
        if not explains(model, name, differing[name], total):
            raise ParityLost(
                f"output '{name}': {differing[name]} of {total} rows differ from {against}",
                where="parity",
                do="cut or join at other tensors: these leave something out that the answer depends on",
            )
    return {"against": against, "rows": rows, "mismatchedRows": mismatched, "worstDifference": f"{worst:.3g}"}


def _wrong(outputs: Sequence[Array]) -> Array:
    """Which rows of a request differ in any output; where outputs have other numbers of rows, which of all of those."""
    same = len({len(wrong) for wrong in outputs}) == 1
    return np.asarray(np.logical_or.reduce(outputs) if same else np.concatenate(outputs))
